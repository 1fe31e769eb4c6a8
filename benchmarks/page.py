"""The page of a results file: its report and its figure, written next to it."""

import sys
from pathlib import Path

from benchmarks import display, environment, plotting, records, rows, text
from benchmarks.suite import Suite


def cells(path: Path) -> dict[str, records.Row]:
    """The rows of a file by the names of their cells; of a cell that was measured several times, the last row."""
    measured, notes = records.read(path)
    print(*notes, sep="\n", end="\n" if notes else "", file=sys.stderr)
    return {rows.name(row): row for row in measured}


def write(suite: Suite, path: Path) -> tuple[display.Page, list[Path]]:
    """Write the page of a results file, and the figure if a cell was timed: the report, and the files written."""
    measured = list(cells(path).values())
    report = [text.conditions(measured[-1]), *suite.page(measured)]
    page, picture, link = path.with_suffix(".md"), path.with_suffix(".png"), []
    timed = rows.timed(measured)
    if timed:
        plotting.save(suite.draw, timed, picture)
        link = [f"![{suite.picture}]({picture.name})"]
    page.write_text(display.markdown([f"# {path.stem}", *link, *report]) + "\n", encoding="utf-8")
    return report, [page, picture] if timed else [page]


def files(suite: Suite, path: Path) -> str:
    """A line that says where the results of a run are, after writing their page if matplotlib is there."""
    if not path.is_file() or not environment.is_here("matplotlib"):
        return f"Results: {path}. There is a plot as well with matplotlib: {environment.INSTALL_BENCH}"
    page, *picture = write(suite, path)[1]
    return f"{f'Plot: {picture[0]}. ' if picture else ''}All figures: {page}. Results: {path}"
