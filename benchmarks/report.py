"""Draws the table and the plots of results files, from the files alone."""

import argparse
import sys
from pathlib import Path

from benchmarks import environment, gradients, plots, records, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="results files (default: all in benchmarks/results)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: beside each file)")


def run(args: argparse.Namespace) -> int:
    environment.require("matplotlib")
    files = args.files or sorted(gradients.RESULTS.glob("*.jsonl"))
    if not files:
        raise environment.UsageError(f"no results in {gradients.RESULTS}: run `python -m benchmarks` first")
    for path in files:
        rows, notes = records.read(path)
        print(*notes, sep="\n", end="\n" if notes else "", file=sys.stderr)
        # a cell that was measured again counts once, as last measured
        rows = list({(row["network"], row["batch_size"]): row for row in rows}.values())
        try:
            report(rows, (args.out or path.parent) / path.stem)
        except OSError as error:
            raise environment.UsageError(f"{error.filename}: {error.strerror}") from None
    return 0


def report(rows: list[records.Row], stem: Path) -> None:
    """Prints the report, and writes it as stem.md beside the plots."""
    timed = [row for row in rows if not row["error"]]
    text = f"{table.conditions(rows[-1])}\n\n{table.times(rows)}\n\n{table.summary(rows)}\n\n{table.NOTES}"
    if timed:
        text += f"\n{table.preparation(timed)}\n"
    stem.parent.mkdir(parents=True, exist_ok=True)
    figures = plots.draw(timed, stem) if timed else []
    picture = f"![time, ratio and memory against batch size]({stem.name}.svg)\n\n" if figures else ""
    page = Path(f"{stem}.md")
    page.write_text(f"# {stem.name}\n\n{picture}{text}", encoding="utf-8")
    print(text, *(page, *figures), sep="\n")
