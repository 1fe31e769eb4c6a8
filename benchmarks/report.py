"""Draws the table and the plots of results files, from the files alone."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import environment, records, text
from benchmarks.compile import plots as compile_plots
from benchmarks.compile import table as compile_table
from benchmarks.gradients import plots as gradients_plots
from benchmarks.gradients import table as gradients_table
from benchmarks.memory import plots as memory_plots
from benchmarks.memory import table as memory_table
from benchmarks.quantities import plots as quantities_plots
from benchmarks.quantities import table as quantities_table
from benchmarks.roofline import plots as roofline_plots
from benchmarks.roofline import table as roofline_table
from benchmarks.scaling import plots as scaling_plots
from benchmarks.scaling import table as scaling_table
from benchmarks.training import plots as training_plots
from benchmarks.training import table as training_table


class View(NamedTuple):
    """How the rows of a suite are shown."""

    page: Callable[[Sequence[records.Row]], str]
    draw: Callable[[Sequence[records.Row], Path], list[Path]]  # of rows that were timed
    picture: str  # what is in it


VIEWS = {
    "gradients": View(gradients_table.page, gradients_plots.draw, "time, ratio and memory against batch size"),
    "quantities": View(quantities_table.page, quantities_plots.draw, "speed, memory and cost of each quantity"),
    "training": View(training_table.page, training_plots.draw, "time of each program relative to manual"),
    "compile": View(compile_table.page, compile_plots.draw, "seconds to lower and to compile against depth"),
    "memory": View(memory_table.page, memory_plots.draw, "temporary memory against batch size"),
    "scaling": View(scaling_table.page, scaling_plots.draw, "time against batch size, width and depth"),
    "roofline": View(roofline_table.page, roofline_plots.draw, "FLOP/s under the roofs of products and memory traffic"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="results files (default: all in benchmarks/results)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: beside each file)")


def run(args: argparse.Namespace) -> int:
    environment.require("matplotlib")
    files = args.files or sorted(records.RESULTS.glob("*.jsonl"))
    if not files:
        raise environment.UsageError(f"no results in {records.RESULTS}: run `python -m benchmarks` first")
    for path in files:
        try:
            report(list(cells(path).values()), (args.out or path.parent) / path.stem)
        except OSError as error:
            raise environment.UsageError(f"{error.filename}: {error.strerror}") from None
    return 0


def cells(path: Path) -> dict[str, records.Row]:
    """A file's cells by name; one that was measured again counts once, as last measured."""
    rows, notes = records.read(path)
    print(*notes, sep="\n", end="\n" if notes else "", file=sys.stderr)
    return {text.name(row): row for row in rows}


def report(rows: list[records.Row], stem: Path) -> None:
    """Prints the report, and writes it as stem.md beside the plots."""
    view = VIEWS[rows[0]["suite"]]
    timed = [row for row in rows if not row["error"]]
    words = f"{text.conditions(rows[-1])}\n\n{view.page(rows)}"
    stem.parent.mkdir(parents=True, exist_ok=True)
    figures = view.draw(timed, stem) if timed else []
    picture = f"![{view.picture}]({stem.name}.svg)\n\n" if figures else ""
    page = Path(f"{stem}.md")
    page.write_text(f"# {stem.name}\n\n{picture}{words}", encoding="utf-8")
    print(words, *(page, *figures), sep="\n")
