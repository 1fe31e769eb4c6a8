"""The figure of a results file: temporary memory against batch size, a row of panels for each part."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figure import machine, save, styled
from benchmarks.gradients.plots import STYLE
from benchmarks.memory.table import TITLES, temporary
from benchmarks.records import Row


def draw(rows: Sequence[Row], stem: Path) -> list[Path]:
    """Writes stem.png and stem.svg from rows that were compiled; what has one batch size only stands in the table."""
    from matplotlib.figure import Figure

    rows = [row for row in rows if row["part"] != "many_classes"] or rows
    networks, parts = (list(dict.fromkeys(row[key] for row in rows)) for key in ("network", "part"))
    with styled():
        size = max(2.7 * len(networks), 6.4) + 0.6, 2.6 * len(parts) + 1.2
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(parts), len(networks), sharex=True, sharey="row", squeeze=False)
        for line, part in zip(panels, parts, strict=True):
            for axes, network in zip(line, networks, strict=True):
                _panel(axes, [row for row in rows if (row["part"], row["network"]) == (part, network)])
            line[0].set_ylabel(f"{TITLES[part]}:\ntemporary memory")
        _scales(panels, networks, sorted({row["batch_size"] for row in rows}))
        figure.suptitle(f"Memory of manual and autodiff: {machine(rows[0])}", fontsize=11)
        handles = panels[0, 0].get_legend_handles_labels()[0][::-1]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
        return save(figure, stem)


def _panel(axes: Any, cells: Sequence[Row]) -> None:
    cells = sorted(cells, key=lambda row: row["batch_size"])
    for program, style in STYLE.items():
        # a logarithmic axis has no place for nothing
        bytes_ = [temporary(row, program) or float("nan") for row in cells]
        axes.plot([row["batch_size"] for row in cells], bytes_, **style)


def _scales(panels: Any, networks: Sequence[str], batch_sizes: Sequence[int]) -> None:
    from matplotlib.ticker import EngFormatter, NullFormatter

    for axes in panels.flat:
        axes.set_xscale("log", base=4)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(EngFormatter("B"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    for axes, network in zip(panels[0], networks, strict=True):
        axes.set_title(network, fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel("batch size")
    labelled = batch_sizes[:: 1 + len(batch_sizes) // 6]
    panels[0, 0].set_xticks(labelled, [f"{m:,}" for m in labelled])
    panels[0, 0].set_xticks(batch_sizes, minor=True, labels=[])
