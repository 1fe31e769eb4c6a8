"""The figure of the roofline: FLOP/s under the roofs, and the share of the limit, a column of panels per network."""

from collections.abc import Sequence
from typing import Any

from benchmarks.plotting import (
    batch_legend,
    dot,
    errors,
    hollow,
    legend,
    new_figure,
    shade,
    size_axis,
    title_of,
    unit_axis,
)
from benchmarks.records import Row
from benchmarks.roofline import limits

ROOF: dict[str, Any] = {"color": "black", "linewidth": 1.0}
FASTEST_COPY: dict[str, Any] = ROOF | {"linestyle": (0, (4, 2))}
LIMIT: dict[str, Any] = {"color": "#D55E00", "marker": "_", "ms": 10, "mew": 1.6}
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.5, 2, 3, 5)


def draw(rows: Sequence[Row]) -> Any:
    """A figure of rows that were timed."""
    from matplotlib.lines import Line2D

    networks = list(dict.fromkeys(row["network"] for row in rows))
    batch_sizes = sorted({row["batch_size"] for row in rows})
    figure = new_figure(max(2.9 * len(networks), 7.2) + 0.6, 6.8, "The gradient under its limits", rows)
    panels = figure.subplots(2, len(networks), sharex="row", sharey="row", squeeze=False)
    for column, network in zip(panels.T, networks, strict=True):
        cells = sorted((row for row in rows if row["network"] == network), key=lambda row: row["batch_size"])
        for row in cells:
            _cell(column, row, shade(batch_sizes.index(row["batch_size"]), len(batch_sizes)))
        column[0].set_title(title_of(cells[0]), fontsize=9)
    _roofs(panels[0], rows)
    _shares(panels[1], batch_sizes)
    roofs = [
        Line2D([], [], label="square matrix product; the largest copy", **ROOF),
        Line2D([], [], label="the fastest copy", **FASTEST_COPY),
    ]
    handles = [*batch_legend(batch_sizes), dot("products alone", **LIMIT), *roofs]
    return legend(figure, handles, 3 if len(networks) < 3 else 5)


def _cell(column: Sequence[Any], row: Row, style: dict[str, Any]) -> None:
    """The speeds of the gradient and of its products, and below them the share of the limit."""
    (roofline, share), found = column, limits.limit(row).share
    style = style | hollow(row, found)
    roofline.plot(limits.intensity(row), limits.flops_per_s(row, limits.fastest_products(row)), **LIMIT)
    roofline.plot(limits.intensity(row), limits.flops_per_s(row, "manual"), **style)
    share.errorbar(row["batch_size"], found.median, yerr=errors([found]), elinewidth=1, **style)


def _roofs(panels: Sequence[Any], rows: Sequence[Row]) -> None:
    """The fastest that the machine allows at each intensity, by the largest copy, from memory, and by the fastest."""
    top = max(row["matmul_flops_per_s"] for row in rows)
    slopes = {max(map(limits.bytes_per_s, rows)): FASTEST_COPY, limits.bytes_per_s(limits.largest_copy(rows)): ROOF}
    for axes in panels:
        axes.set_xscale("log")
        axes.set_yscale("log")
    (left, right), (bottom, _) = panels[0].get_xlim(), panels[0].get_ylim()
    for axes in panels:
        for slope, style in slopes.items():
            axes.plot([left, min(top / slope, right)], [slope * left, min(top, slope * right)], zorder=1, **style)
        axes.plot([min(left, top / min(slopes)), right], [top, top], zorder=1, **ROOF)
        axes.set_xlabel("FLOP for each byte that has to be moved")
    panels[0].set_xlim(left, right)
    panels[0].set_ylim(bottom / 1.5, 2 * top)
    for axis in (panels[0].xaxis, panels[0].yaxis):
        unit_axis(axis, "")
    panels[0].set_ylabel("FLOP/s")


def _shares(panels: Sequence[Any], batch_sizes: Sequence[int]) -> None:
    for axes in panels:
        axes.set_yscale("log")
        axes.axhline(1, color="black", linewidth=0.8)
        axes.set_xlabel("batch size")
    size_axis(panels[0], batch_sizes)
    low, high = panels[0].get_ylim()
    low, high = min(low, 0.45), max(high, 1.1)
    ticks = [tick for tick in SHARES if low <= tick <= high]
    panels[0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    panels[0].set_yticks([], minor=True)
    panels[0].set_ylim(low, high)
    panels[0].set_ylabel("share of the limit\n(the limit's time / manual's)")
