"""The figure of a results file: a panel for each network, one for the training to an accuracy, one for ensembles."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figure import WORSE, batch_legend, machine, ratio_axis, save, shade, styled, with_interval
from benchmarks.records import Row
from benchmarks.training.accuracy import GOAL
from benchmarks.training.table import OTHERS, others, slower, too_noisy


def draw(rows: Sequence[Row], stem: Path) -> list[Path]:
    """Writes stem.png and stem.svg from rows that were timed."""
    from matplotlib.figure import Figure

    batch_sizes = sorted({row["batch_size"] for row in rows})
    parts = {part: [row for row in rows if row["part"] == part] for part in ("step", "accuracy", "ensemble")}
    networks = list(dict.fromkeys(row["network"] for row in parts["step"]))
    panels = [(f"a step of {network}", [r for r in parts["step"] if r["network"] == network]) for network in networks]
    for row in parts["accuracy"]:
        panels.append((f"to {GOAL:.0%} of the digits, {row['network']}", [row]))
    if parts["ensemble"]:
        panels.append((f"one by one against at once, {parts['ensemble'][0]['network']}", parts["ensemble"]))
    columns = min(3, len(panels))
    heights = [max(_height(cells) for _, cells in panels[n : n + columns]) for n in range(0, len(panels), columns)]
    with styled():
        figure = Figure(figsize=(max(3.8 * columns, 7.5), sum(heights) + 1), layout="constrained")
        grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
        drawn: list[Any] = []
        for n, (title, cells) in enumerate(panels):
            # one axis for all networks, so that they can be compared
            shared = drawn[0] if 0 < n < len(networks) else None
            drawn.append(figure.add_subplot(grid[divmod(n, columns)], sharex=shared, title=title))
            _panel(drawn[-1], cells, batch_sizes)
        for group in (drawn[: len(networks)], *([axes] for axes in drawn[len(networks) :])):
            _scale(group)
        figure.suptitle(f"Training by other programs, over manual_bp's time: {machine(rows[0])}", fontsize=12)
        figure.legend(handles=_legend(batch_sizes), loc="outside lower center", ncols=6, frameon=False)
        return save(figure, stem)


def _names(cells: Sequence[Row]) -> list[str]:
    """The lines of a panel: for each program, or for each size of an ensemble."""
    if cells[0]["part"] == "ensemble":
        return [f"{n} networks" for n in sorted({row["members"] for row in cells})]
    return [program for program in OTHERS if any(program in others(row) for row in cells)]


def _height(cells: Sequence[Row]) -> float:
    """Of a panel, in inches."""
    return 0.9 + len(_names(cells)) * (0.16 + 0.08 * len({row["batch_size"] for row in cells}))


def _panel(axes: Any, cells: Sequence[Row], batch_sizes: Sequence[int]) -> None:
    """On the line of a program a dot for each cell."""
    names = _names(cells)
    sizes = sorted({row["batch_size"] for row in cells})
    for row in cells:
        n = sizes.index(row["batch_size"])
        offset = 0.8 * ((n + 0.5) / len(sizes) - 0.5)
        style = shade(batch_sizes.index(row["batch_size"]), len(batch_sizes))
        noisy = {"mfc": "white"} if too_noisy(row) else {}
        for program in others(row):
            line = names.index(program if program in names else f"{row['members']} networks")
            with_interval(axes, slower(row, program), line + offset, style | noisy)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    for n in range(1, len(names)):
        axes.axhline(n - 0.5, color="#dddddd", linewidth=0.6, zorder=0)


def _scale(panels: Sequence[Any]) -> None:
    """What panels with one axis have in common; what is worse is shaded."""
    if panels:
        ratio_axis(panels)
    for axes in panels:
        axes.set_xlabel("time / manual's (above 1: manual is faster)")
        axes.axvspan(axes.get_xlim()[0], 1, **WORSE)


def _legend(batch_sizes: Sequence[int]) -> list[Any]:
    from matplotlib.patches import Patch

    return [*batch_legend(batch_sizes), Patch(label="manual is slower", **WORSE)]
