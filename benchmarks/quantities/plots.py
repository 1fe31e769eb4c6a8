"""The figure of a results file: a row of panels for each network, a line for each quantity, a dot for each cell."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figure import GREY, WORSE, batch_legend, dot, machine, ratio_axis, save, shade, styled, with_interval
from benchmarks.quantities.table import COST, MEMORY, NEARLY_FREE, SPEED, cost, memory, speed
from benchmarks.records import Row
from benchmarks.text import ratio_of

TITLES = (
    f"{SPEED}\n(above 1: manual is faster)",
    f"{MEMORY}\n(above 1: manual needs less)",
    f"{COST}\n(at 1: beside the gradient it is free)",
)
NEARLY = {"color": "#009E73", "alpha": 0.15, "linewidth": 0}


def draw(rows: Sequence[Row], stem: Path) -> list[Path]:
    """Writes stem.png and stem.svg from rows that were timed."""
    from matplotlib.figure import Figure

    networks, quantities = (list(dict.fromkeys(row[key] for row in rows)) for key in ("network", "quantity"))
    batch_sizes = sorted({row["batch_size"] for row in rows})
    height = (0.12 + 0.06 * len(batch_sizes)) * len(quantities)
    with styled():
        figure = Figure(figsize=(10.5, (height + 0.3) * len(networks) + 1.8), layout="constrained")
        panels = figure.subplots(len(networks), 3, sharex="col", sharey=True, squeeze=False)
        for line, network in zip(panels, networks, strict=True):
            for row in (row for row in rows if row["network"] == network):
                # the cells of a quantity one below the other, the smallest batch at the top
                n = batch_sizes.index(row["batch_size"])
                y = quantities.index(row["quantity"]) + 0.8 * ((n + 0.5) / len(batch_sizes) - 0.5)
                _cell(line, row, y, shade(n, len(batch_sizes)))
            line[0].set_ylabel(network, fontsize=11, fontweight="bold")
        for column, title in zip(panels.T, TITLES, strict=True):
            column[0].set_title(title, fontsize=10)
            ratio_axis(column)
        _lines(panels, quantities)
        figure.suptitle(f"Manual quantities against autodiff: {machine(rows[0])}", fontsize=12)
        figure.legend(handles=_legend(batch_sizes), loc="outside lower center", ncols=4, frameon=False)
        return save(figure, stem)


def _cell(line: Sequence[Any], row: Row, y: float, style: dict[str, Any]) -> None:
    """A dot in each of the three panels, hollow where the control says that times cannot be told apart."""
    faster, memories, relative = line
    noisy = {} if ratio_of(row, "control", "gradient").passes_as_control else {"mfc": "white"}
    if found := speed(row):
        with_interval(faster, found, y, style | noisy)
    else:
        # at the right edge, whatever the scale
        faster.plot(0.985, y, transform=faster.get_yaxis_transform(), color=style["color"], marker="x", ms=5)
    if found := memory(row):
        memories.plot(found, y, **style)
    with_interval(relative, cost(row), y, style | noisy)


def _lines(panels: Any, quantities: Sequence[str]) -> None:
    """A line for each quantity, from the top; what is better or worse is shaded."""
    panels[0, 0].set_yticks(range(len(quantities)), quantities)
    panels[0, 0].set_ylim(len(quantities) - 0.5, -0.5)
    for axes in panels.flat:
        axes.tick_params(axis="y", length=0)
        axes.grid(False, axis="y")
        for n in range(1, len(quantities)):
            axes.axhline(n - 0.5, color="#dddddd", linewidth=0.6, zorder=0)
    for axes in panels[:, :2].flat:
        axes.axvspan(axes.get_xlim()[0], 1, **WORSE)
    for axes in panels[:, 2]:
        axes.axvspan(axes.get_xlim()[0], NEARLY_FREE, **NEARLY)


def _legend(batch_sizes: Sequence[int]) -> list[Any]:
    from matplotlib.patches import Patch

    return [
        *batch_legend(batch_sizes),
        dot("autodiff not run", marker="x", **GREY),
        Patch(label="autodiff is better", **WORSE),
        Patch(label=f"at most {NEARLY_FREE} times the gradient", **NEARLY),
    ]
