"""Draws the tables and the figure of results files again."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import environment, plotting, records, rows, text
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
        measured = list(cells(path).values())
        suite = measured[0]["suite"]
        if suite in records.RETIRED:
            print(f"{path}: left as it is, because the suite {suite} no longer exists", file=sys.stderr)
            continue
        try:
            report(measured, path)
        except OSError as error:
            raise environment.UsageError(f"{error.filename}: {error.strerror}") from None
    return 0


def cells(path: Path) -> dict[str, records.Row]:
    """The rows of a file by the names of their cells; of a cell that was measured several times, the last row."""
    measured, notes = records.read(path)
    print(*notes, sep="\n", end="\n" if notes else "", file=sys.stderr)
    return {rows.name(row): row for row in measured}


def report(measured: Sequence[records.Row], path: Path) -> None:
    """Print the report of a results file, and write it next to the file together with the figure."""
    suite = SUITES[measured[0]["suite"]]
    words = f"{text.conditions(measured[-1])}\n\n{suite.page(measured)}\n"
    page, picture, link = path.with_suffix(".md"), path.with_suffix(".png"), ""
    if timed := rows.timed(measured):
        plotting.save(suite.draw, timed, picture)
        link = f"![{suite.picture}]({picture.name})\n\n"
    page.write_text(f"# {path.stem}\n\n{link}{words}", encoding="utf-8")
    print(words, page, *([picture] if link else []), sep="\n")
