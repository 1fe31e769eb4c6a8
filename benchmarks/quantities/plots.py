"""The figure of quantities: a row of panels for each network, a line for each quantity, a dot for each cell."""

from collections.abc import Sequence
from typing import Any

from benchmarks import plotting
from benchmarks.quantities.table import COST, MEMORY, NEARLY_FREE, SPEED, cost, memory, speed
from benchmarks.records import Row

TITLES = (
    f"{SPEED}\n(above 1: manual is faster)",
    f"{MEMORY}\n(above 1: manual needs less)",
    f"{COST}\n(at 1: free in addition to the gradient)",
)
NEARLY = {"color": "#009E73", "alpha": 0.15, "linewidth": 0}


def draw(rows: Sequence[Row]) -> Any:
    """A figure of rows that were timed."""
    networks, quantities = (list(dict.fromkeys(row[key] for row in rows)) for key in ("network", "quantity"))
    batch_sizes = sorted({row["batch_size"] for row in rows})
    inches = (0.12 + 0.06 * len(batch_sizes)) * len(quantities) + 0.3
    figure = plotting.new_figure(10.5, inches * len(networks) + 1.8, "Manual quantities against autodiff", rows)
    panels = figure.subplots(len(networks), 3, sharex="col", sharey=True, squeeze=False)
    for line, network in zip(panels, networks, strict=True):
        for row in (row for row in rows if row["network"] == network):
            n = batch_sizes.index(row["batch_size"])
            y = plotting.height(quantities.index(row["quantity"]), n, len(batch_sizes))
            _cell(line, row, y, plotting.shade(n, len(batch_sizes)))
        line[0].set_ylabel(network, fontsize=11, fontweight="bold")
    for axes in panels.flat:
        plotting.named_lines(axes, quantities)
    for column, title in zip(panels.T, TITLES, strict=True):
        column[0].set_title(title, fontsize=10)
        plotting.ratio_axis(column)
    for axes in panels[:, :2].flat:
        axes.axvspan(axes.get_xlim()[0], 1, **plotting.WORSE)
    for axes in panels[:, 2]:
        axes.axvspan(axes.get_xlim()[0], NEARLY_FREE, **NEARLY)
    return plotting.legend(figure, _handles(batch_sizes), 4)


def _cell(line: Sequence[Any], row: Row, y: float, style: dict[str, Any]) -> None:
    """A dot in each of the three panels."""
    faster, memories, relative = line
    if found := speed(row):
        plotting.ratio_dot(faster, row, found, y, style)
    else:
        # at the right edge, whatever the scale
        faster.plot(0.985, y, transform=faster.get_yaxis_transform(), color=style["color"], marker="x", ms=5)
    if found := memory(row):
        memories.plot(found, y, **style)
    plotting.ratio_dot(relative, row, cost(row), y, style)


def _handles(batch_sizes: Sequence[int]) -> list[Any]:
    from matplotlib.patches import Patch

    return [
        *plotting.batch_legend(batch_sizes),
        plotting.dot("autodiff not run", marker="x", **plotting.GREY),
        Patch(label="autodiff is better", **plotting.WORSE),
        Patch(label=f"at most {NEARLY_FREE} times the gradient", **NEARLY),
    ]
