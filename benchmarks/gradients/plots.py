"""Figures of a results file: time, ratio and memory against the batch size, a column of panels for each network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figure import machine, save, styled
from benchmarks.records import Row
from benchmarks.text import median_of, ratio_of

# Okabe and Ito's colours, which colour-blind readers tell apart, and open markers that show what lies beneath them
STYLE: dict[str, dict[str, Any]] = {
    "autodiff_rows": {"color": "#009E73", "marker": "^", "ms": 7, "mfc": "none", "label": "autodiff, examples in rows"},
    "autodiff": {"color": "#D55E00", "marker": "s", "ms": 7, "mfc": "none", "label": "autodiff, examples in columns"},
    "manual": {"color": "#0072B2", "marker": "o", "ms": 3.5, "label": "manual, examples in columns"},
}
CONTROL = {"color": "#cccccc", "linewidth": 0, "label": "control: autodiff / autodiff"}
RATIOS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10, 20, 50, 100)


def draw(rows: Sequence[Row], stem: Path) -> list[Path]:
    """Writes stem.png and stem.svg from rows that were timed; the same rows give the same SVG."""
    from matplotlib.figure import Figure

    networks = list(dict.fromkeys(row["network"] for row in rows))
    with styled():
        figure = Figure(figsize=(max(2.7 * len(networks), 6.4) + 0.6, 7.8), layout="constrained")
        panels = figure.subplots(3, len(networks), sharex=True, sharey="row", squeeze=False)
        for column, network in zip(panels.T, networks, strict=True):
            _column(column, sorted((r for r in rows if r["network"] == network), key=lambda row: row["batch_size"]))
        _scales(panels, sorted({row["batch_size"] for row in rows}))
        figure.suptitle(f"Manual against autodiff gradients: {machine(rows[0])}", fontsize=11)
        handles = [*panels[0, 0].get_legend_handles_labels()[0][::-1], panels[1, 0].collections[0]]
        figure.legend(handles=handles, loc="outside lower center", ncols=2 if len(networks) < 4 else 4, frameon=False)
        return save(figure, stem)


def _column(axes: Sequence[Any], cells: Sequence[Row]) -> None:
    """One network: its three panels, from top to bottom."""
    time, relative, memory = axes
    m = [row["batch_size"] for row in cells]
    for name, style in STYLE.items():
        time.plot(m, [median_of(row, name) for row in cells], **style)
        # a logarithmic axis has no place for nothing
        memory.plot(m, [row["programs"][name].get("temp_bytes") or float("nan") for row in cells], **style)
    control = [ratio_of(row, "control", "autodiff") for row in cells]
    relative.fill_between(m, [r.low for r in control], [r.high for r in control], **CONTROL)
    relative.axhline(1, color="black", linewidth=0.8)
    for name in ("autodiff_rows", "autodiff"):
        found = [ratio_of(row, "manual", name) for row in cells]
        ends = [[r.median - r.low for r in found], [r.high - r.median for r in found]]
        relative.errorbar(m, [r.median for r in found], yerr=ends, capsize=2, **STYLE[name] | {"ms": 4.5})
    name, sizes = cells[0]["network"], "-".join(map(str, cells[0]["sizes"]))
    time.set_title(name if name == sizes else f"{name}: {sizes}", fontsize=9)
    memory.set_xlabel("batch size")


def _scales(panels: Any, batch_sizes: Sequence[int]) -> None:
    """Logarithmic axes, shared along rows and columns, with ticks one reads without arithmetic."""
    from matplotlib.ticker import EngFormatter, NullFormatter

    time, relative, memory = panels[:, 0]
    for axes in panels.flat:
        axes.set_xscale("log", base=4)
        axes.set_yscale("log")
    low, high = relative.get_ylim()
    low, high = min(low, 0.75), max(high, 1.33)
    ticks = [tick for tick in RATIOS if low <= tick <= high]
    # where a panel spans much, the ticks closest to 1 would overlap
    ticks = [tick for tick in ticks if high / low < 5 or not 0.7 < tick < 1.5 or tick == 1]
    relative.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    relative.set_yticks([], minor=True)
    relative.set_ylim(low, high)
    time.yaxis.set_major_formatter(EngFormatter("s"))
    memory.yaxis.set_major_formatter(EngFormatter("B"))
    for axes in (time, memory):
        axes.yaxis.set_minor_formatter(NullFormatter())
    labelled = batch_sizes[:: 1 + len(batch_sizes) // 6]
    panels[2, 0].set_xticks(labelled, [f"{m:,}" for m in labelled])
    panels[2, 0].set_xticks(batch_sizes, minor=True, labels=[])
    for axes, label in zip(
        panels[:, 0],
        ("time per call", "manual / autodiff\n(below 1: manual is faster)", "temporary memory"),
        strict=True,
    ):
        axes.set_ylabel(label)
