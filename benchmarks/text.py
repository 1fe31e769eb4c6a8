"""Results in print, for every suite: figures with their intervals, aligned Markdown tables, and shared sentences."""

import math
import statistics
import textwrap
from collections.abc import Callable, Mapping, Sequence

from benchmarks.records import Row
from benchmarks.rows import control_of, name, timed
from benchmarks.timing import Ratio

RATIO_NOTE = (
    "A ratio is the median of the ratios within each round, with its 95 % bootstrap interval; "
    '"no difference" means that the interval includes 1.'
)
CONTROL_NOTE = (
    "The control is the ratio of two copies of `{}`. It passes if its interval lies in [0.95, 1.05]; otherwise the "
    "cell is too noisy to tell, and is marked with *."
)
# Titles of columns that hold words, which are aligned to the left
WORDS = {"cell", "verdict", "network", "quantity", "program", "limit", "grows with", "fixed"}
Columns = Mapping[str, Callable[[Row], str]]  # by title: the text of a timed row
NETWORK: Columns = {"network": lambda row: row["network"], "batch": lambda row: f"{row['batch_size']:,}"}


def number(x: float) -> str:
    """Three digits, or all digits before the point if there are more."""
    return f"{x:,.{2 if x < 9.995 else 1 if x < 99.95 else 0}f}"


def interval(r: Ratio) -> str:
    return f"{number(r.median)} [{number(r.low)}, {number(r.high)}]"


def control(row: Row) -> str:
    """The interval of a row's control, marked with * if the cell is too noisy to tell."""
    r = control_of(row)
    return interval(r) + ("  " if r.passes_as_control else " *")


def seconds(t: float) -> str:
    unit, scale = next((u, s) for u, s in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)) if t >= s or u == "µs")
    return f"{number(t / scale)} {unit}"


def size(n: int | None) -> str:
    """A number of bytes; "?" if it is unknown."""
    if n is None:
        return "?"
    unit, scale = next((u, s) for u, s in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if n >= s or u == "kB")
    return f"{number(n / scale)} {unit}"


def conditions(row: Row) -> str:
    """The machine, versions and date of a run."""
    e = row["environment"]
    devices = f" as {e['devices']} devices" if e.get("devices", 1) > 1 else ""
    return (
        f"{e['device']}, {e['threads']} threads{devices}, {e['platform']}; {e['dtype']}, matmul precision "
        f"{e['matmul_precision']}; jax {e['jax']}, jaxlib {e['jaxlib']}, numpy {e['numpy']}, Python {e['python']}; "
        f"commit {e['commit'] or 'unknown'}; {row['date']}. "
        f"A square matrix product ran at {row['matmul_flops_per_s'] / 1e9:,.0f} GFLOP/s."
    )


def extent(rows: Sequence[Row]) -> str:
    """How many cells were timed, and why others were not."""
    e = rows[0]["environment"]
    where = f"{e['device']} ({e['backend']}, {e['dtype']}, jax {e['jax']})"
    text = f"{len(timed(rows))} of {len(rows)} cells timed on {where}."
    return " ".join([text, *(f"Not timed: {name(row)}: {row['error']}." for row in rows if row["error"])])


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(math.log(value) for value in values))


def listed(cells: Sequence[tuple[Row, Ratio]]) -> str:
    """The names and ratios of cells, to end a sentence."""
    names = ", ".join(f"{name(row)} ({interval(r)})" for row, r in cells)
    return f": {names}." if names else "."


def counts(ratios: Sequence[Ratio], manual_above: bool = True) -> str:
    """In how many cells manual is faster, no different and slower.

    `manual_above` is True if manual's time is the numerator of the ratios, False if it is the denominator.
    """
    verdicts = [r.verdict for r in ratios]
    below, above = verdicts.count("manual faster"), verdicts.count("manual slower")
    faster, slower = (below, above) if manual_above else (above, below)
    return f"faster in {faster}, no different in {verdicts.count('no difference')}, slower in {slower}"


def tally(cells: Sequence[tuple[Row, Ratio]], manual_above: bool = True) -> str:
    """The counts of `counts`, followed by the cells in which manual is slower, to end a sentence."""
    slower = [(row, r) for row, r in cells if (r.low > 1 if manual_above else r.high < 1)]
    return counts([r for _, r in cells], manual_above) + listed(slower)


def failing_controls(rows: Sequence[Row]) -> str:
    """The cells that are too noisy to tell, as a sentence."""
    noisy = [(row, r) for row in rows if not (r := control_of(row)).passes_as_control]
    return f"The control fails in {len(noisy)} of {len(rows)} cells{listed(noisy)}"


def notes(text: str) -> str:
    """Paragraphs in lines of at most 120 characters."""
    paragraphs = (textwrap.fill(" ".join(p.split()), 120, break_on_hyphens=False) for p in text.split("\n\n"))
    return "\n\n".join(paragraphs)


def table(rows: Sequence[Row], names: Columns, columns: Columns) -> str:
    """A Markdown table with a line for each row.

    The columns `names` identify the row's cell. The others are empty for a cell that was not timed.
    """
    body = []
    for row in rows:
        cell = [text(row) for text in names.values()]
        if row["error"]:
            body.append([*cell, "not timed", *[""] * (len(columns) - 1)])
        else:
            body.append([*cell, *(text(row) for text in columns.values())])
    return align([*names, *columns], body)


def align(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table that is readable as plain text: words are aligned to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    left = [title in WORDS for title in header]
    lines = [
        "| " + " | ".join(c.ljust(w) if l else c.rjust(w) for c, w, l in zip(cells, widths, left, strict=True)) + " |"
        for cells in (header, *body)
    ]
    rule = "|".join(":" + "-" * (w + 1) if l else "-" * (w + 1) + ":" for w, l in zip(widths, left, strict=True))
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])
