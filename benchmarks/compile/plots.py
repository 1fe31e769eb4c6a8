"""The figure of a results file: a row of panels for each batch size, of lowering, compiling and running by depth."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.compile.table import PROGRAMS, Pair, compiling, lowering, pairs
from benchmarks.figure import machine, save, styled
from benchmarks.gradients.plots import CONTROL, STYLE
from benchmarks.records import Row
from benchmarks.text import median_of, ratio_of

PANELS = (("lowering", "compile", lowering), ("compiling", "compile", compiling), ("running", "run", median_of))
RATIO_STYLE = {
    "compile": {"color": "black", "marker": "D", "ms": 4.5, "label": "lowering and compiling, manual / autodiff"},
    "run": {"color": "#CC79A7", "marker": "v", "ms": 4.5, "label": "running, manual / autodiff"},
}


def draw(rows: Sequence[Row], stem: Path) -> list[Path]:
    """Writes stem.png and stem.svg from rows that were timed."""
    from matplotlib.figure import Figure

    batch_sizes = sorted({row["batch_size"] for row in rows})
    with styled():
        figure = Figure(figsize=(12, 2.9 * len(batch_sizes) + 1.3), layout="constrained")
        panels = figure.subplots(len(batch_sizes), 4, sharex=True, squeeze=False)
        for line, batch_size in zip(panels, batch_sizes, strict=True):
            _line(line, pairs([row for row in rows if row["batch_size"] == batch_size]))
            line[0].set_ylabel(f"time at batch size {batch_size:,}")
            line[3].set_ylabel("below 1: manual is faster")
        _scales(panels, sorted({len(row["sizes"]) - 1 for row in rows}))
        figure.suptitle(f"Lowering and compiling manual and autodiff gradients: {machine(rows[0])}", fontsize=11)
        handles = [*panels[0, 0].get_legend_handles_labels()[0][::-1], *panels[0, 3].get_legend_handles_labels()[0]]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
        return save(figure, stem)


def _line(line: Sequence[Any], found: Sequence[Pair]) -> None:
    """One batch size: its four panels."""
    for axes, (_, part, of) in zip(line, PANELS, strict=False):
        cells = [(pair.layers, row) for pair in found if (row := getattr(pair, part))]
        for program in PROGRAMS[::-1]:
            axes.plot([L for L, _ in cells], [of(row, program) for _, row in cells], **STYLE[program])
    relative = line[3]
    for n, (part, style) in enumerate(RATIO_STYLE.items()):
        cells = [(pair.layers, row) for pair in found if (row := getattr(pair, part))]
        L = [layers for layers, _ in cells]
        ratios = [ratio_of(row, "manual", "autodiff") for _, row in cells]
        ends = [[r.median - r.low for r in ratios], [r.high - r.median for r in ratios]]
        # beside the other, not on it
        beside = [layers + 0.02 * n * found[-1].layers for layers in L]
        relative.errorbar(beside, [r.median for r in ratios], yerr=ends, capsize=2, **style)
        if part == "compile":
            control = [ratio_of(row, "control", "autodiff") for _, row in cells]
            relative.fill_between(
                L, [r.low for r in control], [r.high for r in control], **CONTROL | {"label": "control of the former"}
            )
    relative.axhline(1, color="black", linewidth=0.8)


def _scales(panels: Any, layers: Sequence[int]) -> None:
    """Linear axes: on them what grows with the layers one by one is a straight line, whatever comes once."""
    from matplotlib.ticker import EngFormatter

    for axes, (title, _, _) in zip(panels[0], PANELS, strict=False):
        axes.set_title(title, fontsize=9)
    panels[0, 3].set_title("manual / autodiff", fontsize=9)
    for axes in panels[:, :3].flat:
        axes.set_ylim(0, 1.06 * max((t for line in axes.lines for t in line.get_ydata()), default=1.0))
        axes.yaxis.set_major_formatter(EngFormatter("s"))
    for axes in panels[:, 3]:
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, 0.75), max(high, 1.1))
    for axes in panels[-1]:
        axes.set_xlabel("layers")
        axes.set_xticks(layers)
        axes.set_xlim(0, 1.06 * layers[-1])
