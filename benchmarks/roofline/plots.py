"""The figure of a results file: under the roofs, and the share of the limit, a column of panels for each network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figure import batch_legend, dot, machine, save, shade, styled
from benchmarks.records import Row
from benchmarks.roofline.limits import (
    bytes_per_s,
    fastest_products,
    flops_per_s,
    intensity,
    largest_copy,
    limit,
)
from benchmarks.roofline.table import control_of

ROOF: dict[str, Any] = {"color": "black", "linewidth": 1.0}
FASTEST_COPY: dict[str, Any] = ROOF | {"linestyle": (0, (4, 2))}
LIMIT: dict[str, Any] = {"color": "#D55E00", "marker": "_", "ms": 10, "mew": 1.6}
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.5, 2, 3, 5)


def draw(rows: Sequence[Row], stem: Path) -> list[Path]:
    """Writes stem.png and stem.svg from rows that were timed."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    networks = list(dict.fromkeys(row["network"] for row in rows))
    batch_sizes = sorted({row["batch_size"] for row in rows})
    with styled():
        figure = Figure(figsize=(max(2.9 * len(networks), 7.2) + 0.6, 6.8), layout="constrained")
        panels = figure.subplots(2, len(networks), sharex="row", sharey="row", squeeze=False)
        for column, network in zip(panels.T, networks, strict=True):
            cells = sorted((row for row in rows if row["network"] == network), key=lambda row: row["batch_size"])
            for row in cells:
                n = batch_sizes.index(row["batch_size"])
                noisy = {} if control_of(row).passes_as_control else {"mfc": "white"}
                _cell(column, row, shade(n, len(batch_sizes)) | noisy)
            name, sizes = cells[0]["network"], "-".join(map(str, cells[0]["sizes"]))
            column[0].set_title(name if name == sizes else f"{name}: {sizes}", fontsize=9)
        _roofs(panels[0], rows)
        _shares(panels[1], batch_sizes)
        figure.suptitle(f"The gradient under its limits: {machine(rows[0])}", fontsize=11)
        roofs = [
            Line2D([], [], label="square matrix product; the largest copy", **ROOF),
            Line2D([], [], label="the fastest copy", **FASTEST_COPY),
        ]
        handles = [*batch_legend(batch_sizes), dot("products alone", **LIMIT), *roofs]
        figure.legend(handles=handles, loc="outside lower center", ncols=3 if len(networks) < 3 else 5, frameon=False)
        return save(figure, stem)


def _cell(column: Sequence[Any], row: Row, style: dict[str, Any]) -> None:
    """What was achieved with the limit of the products, and below it the share of the limit."""
    roofline, share = column
    roofline.plot(intensity(row), flops_per_s(row, fastest_products(row)), **LIMIT)
    roofline.plot(intensity(row), flops_per_s(row, "manual"), **style)
    found = limit(row).share
    ends = [[found.median - found.low], [found.high - found.median]]
    share.errorbar(row["batch_size"], found.median, yerr=ends, elinewidth=1, **style)


def _roofs(panels: Sequence[Any], rows: Sequence[Row]) -> None:
    """What the machine allows at each intensity: of the copies the largest, from memory, and the fastest."""
    from matplotlib.ticker import EngFormatter, NullFormatter

    top = max(row["matmul_flops_per_s"] for row in rows)
    slopes = {max(map(bytes_per_s, rows)): FASTEST_COPY, bytes_per_s(largest_copy(rows)): ROOF}
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
        axis.set_major_formatter(EngFormatter())
        axis.set_minor_formatter(NullFormatter())
    panels[0].set_ylabel("FLOP/s")


def _shares(panels: Sequence[Any], batch_sizes: Sequence[int]) -> None:
    for axes in panels:
        axes.set_xscale("log", base=4)
        axes.set_yscale("log")
        axes.axhline(1, color="black", linewidth=0.8)
        axes.set_xlabel("batch size")
    low, high = panels[0].get_ylim()
    low, high = min(low, 0.45), max(high, 1.1)
    ticks = [tick for tick in SHARES if low <= tick <= high]
    panels[0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    panels[0].set_yticks([], minor=True)
    panels[0].set_ylim(low, high)
    labelled = batch_sizes[:: 1 + len(batch_sizes) // 6]
    panels[0].set_xticks(labelled, [f"{m:,}" for m in labelled])
    panels[0].set_xticks(batch_sizes, minor=True, labels=[])
    panels[0].set_ylabel("share of the limit\n(the limit's time / manual's)")
