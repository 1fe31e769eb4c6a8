"""Draws the tables and the figure of results files again."""

import argparse
import sys
from pathlib import Path

from benchmarks import display, environment, page, records
from benchmarks.gradients.command import SUITE as GRADIENTS
from benchmarks.quantities.command import SUITE as QUANTITIES
from benchmarks.roofline.command import SUITE as ROOFLINE
from benchmarks.training.command import SUITE as TRAINING

SUITES = {suite.name: suite for suite in (GRADIENTS, QUANTITIES, TRAINING, ROOFLINE)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="results files (default: all in benchmarks/results)"
    )
    parser.epilog = "Writes FILE.md and FILE.png next to each file and prints the page."


def run(args: argparse.Namespace) -> int:
    environment.require("matplotlib")
    files = args.files or sorted(records.RESULTS.glob("*.jsonl"))
    if not files:
        raise environment.UsageError(f"no results in {records.RESULTS}: run `python -m benchmarks` first")
    for path in files:
        suite = records.read(path)[0][0]["suite"]
        if suite in records.RETIRED:
            print(f"{path}: left as it is, because the suite {suite} no longer exists", file=sys.stderr)
            continue
        try:
            report, files = page.write(SUITES[suite], path)
        except OSError as error:
            raise environment.UsageError(f"{error.filename}: {error.strerror}") from None
        display.show([*report, "\n".join(map(str, files))])
    return 0
