"""The pieces that the figures of all suites share."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.records import Row
from benchmarks.rows import TOO_NOISY, is_told
from benchmarks.timing import Ratio

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#ececec",
    "lines.linewidth": 1.2,
}
MARKERS = "osD^vPX"
TICKS = [digit * 10**power for power in range(-3, 7) for digit in (1, 2, 5)]
WORSE = {"color": "#D55E00", "alpha": 0.1, "linewidth": 0}
GREY = {"color": "#555555", "ms": 5}
NOISY: dict[str, Any] = {"color": "black", "marker": "x", "ms": 6}
MOST_PANELS = 12  # networks in one figure; the cells of more are scattered over one panel
RATIOS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10, 20, 50, 100)


def save(draw: Callable[[Sequence[Row]], Any], rows: Sequence[Row], path: Path) -> None:
    """Draw a figure in the common style and write it as a PNG file."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        draw(rows).savefig(path, dpi=160)


def new_figure(width: float, height: float, title: str, rows: Sequence[Row]) -> Any:
    """An empty figure, the machine in its title."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    e = rows[0]["environment"]
    figure.suptitle(f"{title}: {e['device']} ({e['backend']}), {e['dtype']}, jax {e['jax']}", fontsize=11)
    return figure


def legend(figure: Any, handles: Sequence[Any], columns: int) -> Any:
    """The figure, with a legend below its panels."""
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
    return figure


def title_of(row: Row) -> str:
    """The name and sizes of a row's network."""
    name, sizes = row["network"], "-".join(map(str, row["sizes"]))
    return name if name == sizes else f"{name}: {sizes}"


def shade(n: int, of: int) -> dict[str, Any]:
    """The marker of the n-th of several batch sizes, darker for larger ones."""
    from matplotlib import colormaps

    return {"color": colormaps["viridis_r"](0.25 + 0.75 * (n + 1) / of), "marker": MARKERS[n % len(MARKERS)], "ms": 4.5}


def errors(ratios: Sequence[Ratio]) -> list[list[float]]:
    """The lengths of the error bars of ratios, as matplotlib takes them."""
    return [[r.median - r.low for r in ratios], [r.high - r.median for r in ratios]]


def size_axis(axes: Any, sizes: Sequence[int]) -> None:
    """A logarithmic axis of sizes, each with a tick, at most six of them labelled."""
    axes.set_xscale("log", base=2)
    labelled = sizes[:: 1 + len(sizes) // 6]
    axes.set_xticks(labelled, [f"{m:,}" for m in labelled])
    axes.set_xticks(sizes, minor=True, labels=[])


def scattered(axes: Any, rows: Sequence[Row], ratios: Sequence[Ratio], style: dict[str, Any]) -> None:
    """The ratios of all rows by batch size, on a logarithmic axis."""
    style = {**style, "ms": 4, "linestyle": "none", "elinewidth": 0.7}
    axes.errorbar([row["batch_size"] for row in rows], [r.median for r in ratios], yerr=errors(ratios), **style)
    for row, r in zip(rows, ratios, strict=True):
        if not is_told(row, r):
            axes.plot(row["batch_size"], r.median, zorder=4, **NOISY)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("batch size")


def ratio_scale(axes: Any, label: str) -> None:
    """A logarithmic vertical axis of ratios that includes 1, with ticks that are easy to read."""
    low, high = axes.get_ylim()
    low, high = min(low, 0.75), max(high, 1.33)
    ticks = [tick for tick in RATIOS if low <= tick <= high]
    # in a panel that spans much, the ticks closest to 1 would overlap
    ticks = [tick for tick in ticks if high / low < 5 or not 0.7 < tick < 1.5 or tick == 1]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks([], minor=True)
    axes.set_ylim(low, high)
    axes.set_ylabel(label)


def unit_axis(axis: Any, unit: str) -> None:
    """An axis labelled with SI prefixes."""
    from matplotlib.ticker import EngFormatter, NullFormatter

    axis.set_major_formatter(EngFormatter(unit))
    axis.set_minor_formatter(NullFormatter())


def hollow(row: Row, r: Ratio) -> dict[str, Any]:
    """The face of the marker of a ratio that is too noisy to tell."""
    return {} if is_told(row, r) else {"mfc": "white"}


def ratio_dot(axes: Any, row: Row, r: Ratio, y: float, style: dict[str, Any]) -> None:
    """A ratio of a row with its interval as a dot at height y, hollow if it is too noisy to tell."""
    axes.errorbar(r.median, y, xerr=errors([r]), elinewidth=1, **style | hollow(row, r))


def ratio_axis(column: Sequence[Any]) -> None:
    """A logarithmic axis of ratios, shared by the panels of a column, that includes 1."""
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


def named_lines(axes: Any, names: Sequence[str]) -> None:
    """A vertical axis with a line for each name, the first at the top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    for n in range(1, len(names)):
        axes.axhline(n - 0.5, color="#dddddd", linewidth=0.6, zorder=0)


def height(line: int, n: int, of: int) -> float:
    """The height of the n-th of several dots on a line."""
    return line + 0.8 * ((n + 0.5) / of - 0.5)


def dot(label: str, **style: Any) -> Any:
    """A marker for the legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="none", label=label, **style)


def batch_legend(batch_sizes: Sequence[int]) -> list[Any]:
    """The markers of the batch sizes, and the hollow marker of what is too noisy to tell."""
    shades = [dot(f"batch {m:,}", **shade(n, len(batch_sizes))) for n, m in enumerate(batch_sizes)]
    return [*shades, dot(TOO_NOISY, marker="o", mfc="white", **GREY)]
