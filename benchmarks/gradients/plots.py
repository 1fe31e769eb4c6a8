"""The figure of gradients: time, ratio, memory and compile time by batch size, width or depth."""

from collections.abc import Sequence
from typing import Any

from benchmarks.gradients.growth import Series, all_series
from benchmarks.gradients.table import preparation, temporary
from benchmarks.plotting import dot, errors, legend, new_figure, size_axis, title_of, unit_axis
from benchmarks.records import Row
from benchmarks.rows import TOO_NOISY, control_of, is_told, median_of, ratio_of, was_timed

# Okabe and Ito's colours, which colour-blind readers can tell apart, and open markers that show what lies below them
STYLE: dict[str, dict[str, Any]] = {
    "autodiff_rows": {"color": "#009E73", "marker": "^", "ms": 7, "mfc": "none", "label": "autodiff, examples in rows"},
    "autodiff": {"color": "#D55E00", "marker": "s", "ms": 7, "mfc": "none", "label": "autodiff, examples in columns"},
    "manual": {"color": "#0072B2", "marker": "o", "ms": 3.5, "label": "manual, examples in columns"},
}
NOISY: dict[str, Any] = {"color": "black", "marker": "x", "ms": 6}
CONTROL = {"color": "#cccccc", "linewidth": 0, "label": "control: autodiff / autodiff"}
RATIOS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10, 20, 50, 100)
LABELS = (
    "time per call",
    "manual / autodiff\n(below 1: manual is faster)",
    "temporary memory",
    "lowering and compiling",
)


def draw(rows: Sequence[Row]) -> Any:
    """A figure of rows that were timed, with a column of panels for each series of cells.

    Compile time is drawn only if depth varies. It hardly depends on the other sizes, and is timed only once.
    """
    columns = columns_of(rows)
    lines = 4 if any(series.varied == "depth" for series in columns) else 3
    size = max(2.7 * len(columns), 6.4) + 0.6, 2.2 * lines + 1.2
    figure = new_figure(*size, "Manual against autodiff gradients", rows)
    panels = figure.subplots(lines, len(columns), sharex="col", sharey="row", squeeze=False)
    for axes, series in zip(panels.T, columns, strict=True):
        _column(axes, series)
    _vertical_axes(panels[:, 0])
    handles = [*panels[0, 0].get_legend_handles_labels()[0][::-1], panels[1, 0].collections[0], dot(TOO_NOISY, **NOISY)]
    return legend(figure, handles, 2 if len(columns) < 4 else 4)


def columns_of(rows: Sequence[Row]) -> list[Series]:
    """The series to draw: those by width and by depth, and those by batch size of all other networks.

    A network that is part of a series by width or depth gets a column of its own only if its batch size varies.
    """
    found = all_series(rows)
    grown = {row["network"] for series in found if series.varied != "batch size" for row in series.rows}
    return [s for s in found if s.varied != "batch size" or len(s.sizes) > 1 or s.fixed not in grown]


def _column(axes: Sequence[Any], series: Series) -> None:
    time, relative, memory, *compiling = axes
    sizes, rows = series.sizes, series.rows
    for program, style in STYLE.items():
        if all(was_timed(row, program) for row in rows):
            time.plot(sizes, [median_of(row, program) for row in rows], **style)
            # no memory has no place on a logarithmic axis
            memory.plot(sizes, [temporary(row, program) or float("nan") for row in rows], **style)
            for panel in compiling:
                panel.plot(sizes, [sum(preparation(row, program) or [float("nan")]) for row in rows], **style)
    control = [control_of(row) for row in rows]
    relative.fill_between(sizes, [r.low for r in control], [r.high for r in control], **CONTROL)
    relative.axhline(1, color="black", linewidth=0.8)
    for program in ("autodiff_rows", "autodiff"):
        if all(was_timed(row, program) for row in rows):
            ratios = [ratio_of(row, "manual", program) for row in rows]
            style = STYLE[program] | {"ms": 4.5}
            relative.errorbar(sizes, [r.median for r in ratios], yerr=errors(ratios), capsize=2, **style)
            for size, row, r in zip(sizes, rows, ratios, strict=True):
                if not is_told(row, r):
                    relative.plot(size, r.median, zorder=4, **NOISY)
    time.set_title(title_of(rows[0]) if series.varied == "batch size" else series.fixed, fontsize=9)
    size_axis(axes[-1], sizes)
    axes[-1].set_xlabel(series.varied)


def _vertical_axes(panels: Sequence[Any]) -> None:
    """Logarithmic axes with ticks that are easy to read; that of compile time is linear."""
    time, relative, memory, *compiling = panels
    for axes in (time, relative, memory):
        axes.set_yscale("log")
    low, high = relative.get_ylim()
    low, high = min(low, 0.75), max(high, 1.33)
    ticks = [tick for tick in RATIOS if low <= tick <= high]
    # in a panel that spans much, the ticks closest to 1 would overlap
    ticks = [tick for tick in ticks if high / low < 5 or not 0.7 < tick < 1.5 or tick == 1]
    relative.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    relative.set_yticks([], minor=True)
    relative.set_ylim(low, high)
    for axes in compiling:
        axes.set_ylim(bottom=0)
    for axes, unit in zip((time, memory, *compiling), "sBs", strict=False):
        unit_axis(axes.yaxis, unit)
    for axes, label in zip(panels, LABELS, strict=False):
        axes.set_ylabel(label)
