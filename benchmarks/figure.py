"""What the figures of all suites have in common: how they look, and how they are written."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.records import Row
from benchmarks.timing import Ratio

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#ececec",
    "lines.linewidth": 1.2,
    "svg.hashsalt": "manual_bp",
}
MARKERS = "osD^vPX"
TICKS = [digit * 10**power for power in range(-3, 7) for digit in (1, 2, 5)]
WORSE = {"color": "#D55E00", "alpha": 0.1, "linewidth": 0}
GREY = {"color": "#555555", "ms": 5}


@contextmanager
def styled() -> Iterator[None]:
    """The style of a figure that is made and saved within."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        yield


def machine(row: Row) -> str:
    """What a title says of where the times were taken."""
    e = row["environment"]
    return f"{e['device']} ({e['backend']}), {e['dtype']}, jax {e['jax']}"


def save(figure: Any, stem: Path) -> list[Path]:
    """Writes stem.png and stem.svg; the same figure gives the same SVG."""
    paths = [Path(f"{stem}.{kind}") for kind in ("png", "svg")]
    figure.savefig(paths[0], dpi=160)
    figure.savefig(paths[1], metadata={"Date": None})
    return paths


def shade(n: int, of: int) -> dict[str, Any]:
    """The n-th batch size's marker, darker than that of the one before."""
    from matplotlib import colormaps

    return {"color": colormaps["viridis_r"](0.25 + 0.75 * (n + 1) / of), "marker": MARKERS[n % len(MARKERS)], "ms": 4.5}


def with_interval(axes: Any, r: Ratio, y: float, style: dict[str, Any]) -> None:
    """A ratio as a dot at height y."""
    axes.errorbar(r.median, y, xerr=[[r.median - r.low], [r.high - r.median]], elinewidth=1, **style)


def ratio_axis(column: Sequence[Any]) -> None:
    """A logarithmic axis with 1 in it and ticks one reads without arithmetic."""
    for axes in column:
        axes.set_xscale("log")
    low, high = column[0].get_xlim()
    low, high = min(low, 0.8), max(high, 2.2)
    ticks = [tick for tick in TICKS if low <= tick <= high]
    if len(ticks) > 7:
        ticks = [tick for tick in ticks if f"{tick:e}".startswith("1.0")]
    column[0].set_xlim(low, high)
    column[0].set_xticks(ticks, [f"{tick:g}" if tick < 1000 else f"{tick / 1000:g}k" for tick in ticks])
    column[0].set_xticks([], minor=True)
    for axes in column:
        axes.tick_params(labelbottom=True)
        axes.axvline(1, color="black", linewidth=0.8)


def dot(label: str, **style: Any) -> Any:
    """A marker for the legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="none", label=label, **style)


def batch_legend(batch_sizes: Sequence[int]) -> list[Any]:
    """What the dots of a cell are, filled or hollow."""
    shades = [dot(f"batch {m:,}", **shade(n, len(batch_sizes))) for n, m in enumerate(batch_sizes)]
    return [*shades, dot("too noisy to tell", marker="o", mfc="white", **GREY)]
