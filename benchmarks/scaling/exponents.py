"""By which power of its size the time of a program grows: fits of log time against log size."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.records import Row
from benchmarks.text import figure, median_of

# Of ten times the smallest cell's time overhead, which is at most all of that, is at most a tenth
ABOVE_SMALLEST = 10
POINTS = 3  # that a fit has at least


class Exponent(NamedTuple):
    """The slope, the ends of its 95 % interval, and the line's time in seconds at size 1."""

    slope: float
    low: float
    high: float
    at_one: float

    def __str__(self) -> str:
        return f"{figure(self.slope)} [{figure(self.low)}, {figure(self.high)}]"


class Series(NamedTuple):
    """Cells that differ in one size, by that size."""

    part: str  # which size: "batch_size", "width" or "depth"
    network: str | None  # the one whose batch size varies
    cells: tuple[Row, ...]

    @property
    def sizes(self) -> list[int]:
        return [size_of(row) for row in self.cells]


def size_of(row: Row) -> int:
    """What a cell's part varies."""
    varied = {"batch_size": row["batch_size"], "width": row["sizes"][0], "depth": len(row["sizes"]) - 1}
    return varied[row["part"]]


def series(rows: Sequence[Row]) -> list[Series]:
    """Rows that were timed, each in its series."""
    found: dict[tuple[str, str | None], list[Row]] = {}
    for row in rows:
        if not row["error"]:
            key = (row["part"], row["network"] if row["part"] == "batch_size" else None)
            found.setdefault(key, []).append(row)
    return [Series(*key, tuple(sorted(cells, key=size_of))) for key, cells in found.items()]


def fitted(of: Series) -> Series | None:
    """The cells to be fitted, the same for all programs: those beyond overhead by autodiff, at least the three largest.

    None where there are fewer than three.
    """
    least = ABOVE_SMALLEST * median_of(of.cells[0], "autodiff")
    beyond = next((n for n, row in enumerate(of.cells) if median_of(row, "autodiff") >= least), len(of.cells))
    chosen = of.cells[max(min(beyond, len(of.cells) - POINTS), 0) :]
    return of._replace(cells=chosen) if len(chosen) >= POINTS else None


def exponent(of: Series, program: str, resamples: int = 2000) -> Exponent:
    """The least-squares slope through the medians, with a percentile bootstrap interval over the rounds of each cell.

    The interval says how far the noise of the rounds moves the slope, not whether the points lie on a line.
    """
    rng = np.random.default_rng(0)
    x = np.log(of.sizes)
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    times = [np.asarray(row["programs"][program]["times_s"]) for row in of.cells]
    y = np.log([np.median(t) for t in times])
    resampled = np.log([np.median(rng.choice(t, (resamples, len(t))), axis=1) for t in times])
    low, high = np.quantile(weights @ resampled, (0.025, 0.975))
    slope = float(weights @ y)
    return Exponent(slope, float(low), float(high), float(np.exp(y.mean() - slope * x.mean())))
