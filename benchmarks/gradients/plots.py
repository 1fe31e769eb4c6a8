"""The figure of gradients: time, ratio, memory and compile time by batch size, width or depth."""

from collections.abc import Sequence
from typing import Any

from benchmarks.gradients.growth import Series, all_series
from benchmarks.gradients.table import preparation, temporary
from benchmarks.plotting import (
    MOST_PANELS,
    NOISY,
    dot,
    errors,
    legend,
    new_figure,
    ratio_scale,
    scattered,
    size_axis,
    title_of,
    unit_axis,
)
from benchmarks.records import Row
from benchmarks.rows import TOO_NOISY, control_of, is_told, median_of, ratio_of, was_timed

# Okabe and Ito's colours, which colour-blind readers can tell apart, and open markers that show what lies below them
STYLE: dict[str, dict[str, Any]] = {
    "autodiff_rows": {"color": "#009E73", "marker": "^", "ms": 7, "mfc": "none", "label": "autodiff, examples in rows"},
    "autodiff": {"color": "#D55E00", "marker": "s", "ms": 7, "mfc": "none", "label": "autodiff, examples in columns"},
    "manual": {"color": "#0072B2", "marker": "o", "ms": 3.5, "label": "manual, examples in columns"},
}
CONTROL = {"color": "#cccccc", "linewidth": 0, "label": "control: autodiff / autodiff"}
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
    if len(columns) > MOST_PANELS:
        return _scattered(rows)
    lines = 4 if any(series.varied == "depth" for series in columns) else 3
    size = max(2.7 * len(columns), 6.4) + 0.6, 2.2 * lines + 1.2
    figure = new_figure(*size, "Manual against autodiff gradients", rows)
    panels = figure.subplots(lines, len(columns), sharex="col", sharey="row", squeeze=False)
    for axes, series in zip(panels.T, columns, strict=True):
        _column(axes, series)
    _vertical_axes(panels[:, 0])
    handles = [*panels[0, 0].get_legend_handles_labels()[0][::-1], panels[1, 0].collections[0], dot(TOO_NOISY, **NOISY)]
    return legend(figure, handles, 2 if len(columns) < 4 else 4)


def _scattered(rows: Sequence[Row]) -> Any:
    """The ratios to both conventions by batch size, of cells that are too different to be joined by lines."""
    figure = new_figure(9.6, 4.2, "Manual against autodiff gradients", rows)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, program in zip(panels, ("autodiff", "autodiff_rows"), strict=True):
        scattered(axes, rows, [ratio_of(row, "manual", program) for row in rows], STYLE[program])
        axes.set_title(f"against {STYLE[program]['label']}", fontsize=9)
    ratio_scale(panels[0], LABELS[1])
    return legend(figure, [dot(TOO_NOISY, **NOISY)], 1)


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
    ratio_scale(relative, LABELS[1])
    for axes in compiling:
        axes.set_ylim(bottom=0)
    for axes, unit in zip((time, memory, *compiling), "sBs", strict=False):
        unit_axis(axes.yaxis, unit)
    for axes, label in zip(panels, LABELS, strict=False):
        axes.set_ylabel(label)
