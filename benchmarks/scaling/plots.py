"""The figure of a results file: time against batch size, width and depth, with the lines that are fitted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figure import machine, save, styled
from benchmarks.gradients.plots import STYLE
from benchmarks.records import Row
from benchmarks.scaling.exponents import Series, exponent, fitted, series
from benchmarks.scaling.table import PARTS, title
from benchmarks.text import median_of

PROGRAMS = ("autodiff", "manual")
FIT = {"color": "black", "linestyle": (0, (4, 2)), "linewidth": 1.0, "zorder": 5}


def draw(rows: Sequence[Row], stem: Path) -> list[Path]:
    """Writes stem.png and stem.svg from rows that were timed."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    found = series(rows)
    with styled():
        figure = Figure(figsize=(max(4 * len(found), 7), 4.6), layout="constrained")
        panels = figure.subplots(1, len(found), squeeze=False)[0]
        for axes, of in zip(panels, found, strict=True):
            _panel(axes, of)
        panels[0].set_ylabel("time per call")
        figure.suptitle(f"How the time of a gradient grows: {machine(rows[0])}", fontsize=11)
        handles = [*panels[0].get_legend_handles_labels()[0][::-1], Line2D([], [], label="fit of manual", **FIT)]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
        return save(figure, stem)


def _panel(axes: Any, of: Series) -> None:
    from matplotlib.ticker import EngFormatter, NullFormatter

    for program in PROGRAMS:
        style = STYLE[program] | {"linestyle": "none"}
        axes.plot(of.sizes, [median_of(row, program) for row in of.cells], **style)
    words = title(of)
    if chosen := fitted(of):
        found = {program: exponent(chosen, program) for program in PROGRAMS}
        words += "".join(f"\npower {found[program]}, {program}" for program in PROGRAMS[::-1])
        line = found["manual"]
        ends = [chosen.sizes[0], chosen.sizes[-1]]
        axes.plot(ends, [line.at_one * size**line.slope for size in ends], **FIT)
    axes.set_title(words, fontsize=9)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(EngFormatter("s"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    labelled = of.sizes[:: 1 + len(of.sizes) // 5]
    axes.set_xticks(labelled, [f"{size:,}" for size in labelled])
    axes.set_xticks(of.sizes, minor=True, labels=[])
    axes.set_xlabel(PARTS[of.part])
