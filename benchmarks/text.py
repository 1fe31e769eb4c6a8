"""Results in print, for every suite: figures with their intervals, tables of rows, and shared sentences."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

from benchmarks import rows
from benchmarks.display import Table
from benchmarks.records import Row
from benchmarks.rows import control_of, name, timed
from benchmarks.timing import Ratio

RATIO_NOTE = (
    "A ratio is the median of the ratios within each round, with its 95 % bootstrap interval; "
    '"no difference" means that the interval includes 1.'
)
CONTROL_NOTE = (
    "The control is the ratio of two copies of `{}`. It passes if its interval lies in [0.95, 1.05]. If it fails, the "
    "cell is too noisy to tell; so is a ratio with an interval that is wider than a factor of "
    f"{rows.SPREAD}. Both are marked with *, and are in no mean and no count."
)
TOO_BUSY = (
    "Fewer than half could be told: the machine is too busy for a result. Close other programs, or let the run take "
    "longer (--full, or --repeats 200), and measure again."
)
Columns = Mapping[str, Callable[[Row], str]]  # by title: the text of a timed row
NETWORK: Columns = {"network": lambda row: row["network"], "batch": lambda row: f"{row['batch_size']:,}"}


def number(x: float) -> str:
    """Three digits, or all digits before the point if there are more."""
    return f"{x:,.{2 if x < 9.995 else 1 if x < 99.95 else 0}f}"


def interval(r: Ratio) -> str:
    return f"{number(r.median)} [{number(r.low)}, {number(r.high)}]"


def control(row: Row) -> str:
    """The interval of a row's control, marked with * if it fails."""
    r = control_of(row)
    return interval(r) + ("  " if r.passes_as_control else " *")


def judged(row: Row, r: Ratio) -> str:
    """A ratio of a row for a table, marked with * if it is too noisy to tell."""
    return interval(r) + ("  " if rows.is_told(row, r) else " *")


def in_words(row: Row, r: Ratio) -> str:
    """A ratio of a row for a line; if it is too noisy to tell, that is said."""
    return interval(r) + ("" if rows.is_told(row, r) else f" ({rows.TOO_NOISY})")


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


def extent(measured: Sequence[Row]) -> str:
    """How many cells were timed, and why others were not."""
    e = measured[0]["environment"]
    where = f"{e['device']} ({e['backend']}, {e['dtype']}, jax {e['jax']})"
    text = f"{len(timed(measured))} of {len(measured)} cells timed on {where}."
    return " ".join([text, *(f"Not timed: {name(row)}: {row['error']}." for row in measured if row["error"])])


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(math.log(value) for value in values))


def listed(cells: Sequence[tuple[Row, Ratio]]) -> str:
    """The names and ratios of cells, to end a sentence."""
    names = ", ".join(f"{name(row)} ({interval(r)})" for row, r in cells)
    return f": {names}." if names else "."


def counts(cells: Sequence[tuple[Row, Ratio]], manual_above: bool = True) -> str:
    """In how many cells manual is faster, no different and slower, and too noisy to tell if there are such cells.

    `manual_above` is True if manual's time is the numerator of the ratios, False if it is the denominator.
    """
    verdicts = [rows.verdict(row, r) for row, r in cells]
    below, above = verdicts.count("manual faster"), verdicts.count("manual slower")
    faster, slower = (below, above) if manual_above else (above, below)
    noisy = f", {rows.TOO_NOISY} in {n}" if (n := verdicts.count(rows.TOO_NOISY)) else ""
    return f"faster in {faster}, no different in {verdicts.count('no difference')}{noisy}, slower in {slower}"


def tally(cells: Sequence[tuple[Row, Ratio]], manual_above: bool = True) -> str:
    """The counts of `counts`, followed by the cells in which manual is slower, to end a sentence."""
    slower = [(row, r) for row, r in rows.told(cells) if (r.low > 1 if manual_above else r.high < 1)]
    return counts(cells, manual_above) + listed(slower)


def sureness(cells: Sequence[tuple[Row, Ratio]], others: str = "") -> str:
    """How many cells, each with its ratio, can be told apart from noise; if too few, that and what to do.

    `others` is a sentence on the other cells, if there are any.
    """
    told = len(rows.told(cells))
    words = f"{told} of {len(cells)} cells could be told apart from noise."
    if others and told < len(cells):
        words = f"{words} {others}"
    return words if 2 * told >= len(cells) else f"{words} {TOO_BUSY}"


def failing_controls(measured: Sequence[Row]) -> str:
    """The cells whose control fails, as a sentence."""
    noisy = [(row, r) for row in measured if not (r := control_of(row)).passes_as_control]
    return f"The control fails in {len(noisy)} of {len(measured)} cells{listed(noisy)}"


def table(measured: Sequence[Row], names: Columns, columns: Columns) -> Table:
    """A table with a line for each row.

    The columns `names` identify the row's cell. The others are empty for a cell that was not timed.
    """
    body = []
    for row in measured:
        cell = [text(row) for text in names.values()]
        if row["error"]:
            body.append([*cell, "not timed", *[""] * (len(columns) - 1)])
        else:
            body.append([*cell, *(text(row) for text in columns.values())])
    return Table([*names, *columns], body, len(names))
