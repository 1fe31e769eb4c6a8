"""The growth of a program's time with batch size, width and depth: fits of log time against log size."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.records import Row
from benchmarks.rows import median_of
from benchmarks.text import number

OVERHEAD = 10  # a cell that takes this many times as long as the smallest has at most a tenth of overhead
FITTED = 3  # the fewest sizes to fit
LEAST = 4  # the fewest sizes that show growth


class Series(NamedTuple):
    """Cells that differ in one size only, in the order of that size."""

    varied: str  # "batch size", "width" or "depth"
    fixed: str  # everything else, in words
    sizes: tuple[int, ...]
    rows: tuple[Row, ...]


class Exponent(NamedTuple):
    """The power of the size with which time grows, and the ends of its 95 % interval."""

    slope: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{number(self.slope)} [{number(self.low)}, {number(self.high)}]"


def all_series(rows: Sequence[Row]) -> list[Series]:
    """The series among rows that were timed: one by batch size for each network, and those by width and by depth.

    A network whose inputs and hidden layers have one width belongs to series by width and by depth if at least `LEAST`
    such networks were timed at the same batch size.
    """
    found: dict[tuple[str, str], dict[int, Row]] = {}
    for row in rows:
        m, (*widths, outputs), layers = row["batch_size"], row["sizes"], len(row["sizes"]) - 1
        found.setdefault(("batch size", row["network"]), {})[m] = row
        if len(set(widths)) == 1:
            found.setdefault(("width", f"{layers} layers, {outputs} outputs, batch {m:,}"), {})[widths[0]] = row
            found.setdefault(("depth", f"width {widths[0]:,}, {outputs} outputs, batch {m:,}"), {})[layers] = row
    ordered = ((key, sorted(cells.items())) for key, cells in found.items())
    series = [Series(*key, *zip(*cells, strict=True)) for key, cells in ordered]
    order = ("batch size", "width", "depth")
    kept = [of for of in series if of.varied == "batch size" or len(of.sizes) >= LEAST]
    return sorted(kept, key=lambda of: order.index(of.varied))


def fitted(of: Series) -> Series:
    """The cells to fit, the same for all programs: those in which autodiff has little overhead, at least the largest.

    Of a series of at least `FITTED` cells, at least so many are fitted.
    """
    least = OVERHEAD * median_of(of.rows[0], "autodiff")
    beyond = next((n for n, row in enumerate(of.rows) if median_of(row, "autodiff") >= least), len(of.rows))
    first = max(min(beyond, len(of.rows) - FITTED), 0)
    return of._replace(sizes=of.sizes[first:], rows=of.rows[first:])


def exponent(of: Series, program: str, resamples: int = 2000) -> Exponent:
    """The least-squares slope through the medians, with a percentile bootstrap interval over the rounds of each cell.

    The interval shows how far the noise of the rounds moves the slope, not whether the points lie on a line.
    """
    rng = np.random.default_rng(0)
    x = np.log(of.sizes)
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    times = [np.asarray(row["programs"][program]["times_s"]) for row in of.rows]
    resampled = np.log([np.median(rng.choice(t, (resamples, len(t))), axis=1) for t in times])
    low, high = np.quantile(weights @ resampled, (0.025, 0.975))
    return Exponent(float(weights @ np.log([np.median(t) for t in times])), float(low), float(high))
