"""The figure of a results file: a row of panels for each network, a line for each quantity, a dot for each cell."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figure import machine, save, styled
from benchmarks.quantities.table import COST, MEMORY, NEARLY_FREE, SPEED, cost, memory, speed
from benchmarks.records import Row
from benchmarks.text import ratio_of
from benchmarks.timing import Ratio

TITLES = (
    f"{SPEED}\n(above 1: manual is faster)",
    f"{MEMORY}\n(above 1: manual needs less)",
    f"{COST}\n(at 1: beside the gradient it is free)",
)
MARKERS = "osD^vPX"
TICKS = [digit * 10**power for power in range(-3, 7) for digit in (1, 2, 5)]
WORSE = {"color": "#D55E00", "alpha": 0.1, "linewidth": 0}
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
                _cell(line, row, y, _style(n, len(batch_sizes)))
            line[0].set_ylabel(network, fontsize=11, fontweight="bold")
        for column, title in zip(panels.T, TITLES, strict=True):
            column[0].set_title(title, fontsize=10)
            _scale(column)
        _lines(panels, quantities)
        figure.suptitle(f"Manual quantities against autodiff: {machine(rows[0])}", fontsize=12)
        figure.legend(handles=_legend(batch_sizes), loc="outside lower center", ncols=4, frameon=False)
        return save(figure, stem)


def _style(n: int, of: int) -> dict[str, Any]:
    """The n-th batch size's marker, darker than that of the one before."""
    from matplotlib import colormaps

    return {"color": colormaps["viridis_r"](0.25 + 0.75 * (n + 1) / of), "marker": MARKERS[n % len(MARKERS)], "ms": 4.5}


def _cell(line: Sequence[Any], row: Row, y: float, style: dict[str, Any]) -> None:
    """A dot in each of the three panels, hollow where the control says that times cannot be told apart."""
    faster, memories, relative = line
    noisy = {} if ratio_of(row, "control", "gradient").passes_as_control else {"mfc": "white"}
    if found := speed(row):
        _with_interval(faster, found, y, style | noisy)
    else:
        # at the right edge, whatever the scale
        faster.plot(0.985, y, transform=faster.get_yaxis_transform(), color=style["color"], marker="x", ms=5)
    if found := memory(row):
        memories.plot(found, y, **style)
    _with_interval(relative, cost(row), y, style | noisy)


def _with_interval(axes: Any, r: Ratio, y: float, style: dict[str, Any]) -> None:
    axes.errorbar(r.median, y, xerr=[[r.median - r.low], [r.high - r.median]], elinewidth=1, **style)


def _scale(column: Sequence[Any]) -> None:
    """A logarithmic axis with 1 in it and ticks one reads without arithmetic."""
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
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    def dot(label: str, **style: Any) -> Any:
        return Line2D([], [], linestyle="none", label=label, **style)

    grey = {"color": "#555555", "ms": 5}
    return [
        *(dot(f"batch {m:,}", **_style(n, len(batch_sizes))) for n, m in enumerate(batch_sizes)),
        dot("too noisy to tell", marker="o", mfc="white", **grey),
        dot("autodiff not run", marker="x", **grey),
        Patch(label="autodiff is better", **WORSE),
        Patch(label=f"at most {NEARLY_FREE} times the gradient", **NEARLY),
    ]
