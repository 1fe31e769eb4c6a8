"""The figure of training: a panel for each network, one for the training to an accuracy, one for ensembles."""

from collections.abc import Sequence
from typing import Any

from benchmarks import plotting
from benchmarks.records import Row
from benchmarks.rows import TOO_NOISY
from benchmarks.training.accuracy import GOAL
from benchmarks.training.table import OTHERS, others, slower


def draw(rows: Sequence[Row]) -> Any:
    """A figure of rows that were timed."""
    from matplotlib.patches import Patch

    batch_sizes = sorted({row["batch_size"] for row in rows})
    panels, networks = _panels(rows)
    if networks > plotting.MOST_PANELS:
        return _scattered(rows)
    columns = min(3, len(panels))
    heights = [max(_inches(cells) for _, cells in panels[n : n + columns]) for n in range(0, len(panels), columns)]
    title = "Training by other programs, over manual_bp's time"
    figure = plotting.new_figure(max(3.8 * columns, 7.5), sum(heights) + 1, title, rows)
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    drawn: list[Any] = []
    for n, (title, cells) in enumerate(panels):
        # the networks share one axis, so that they can be compared
        shared = drawn[0] if 0 < n < networks else None
        drawn.append(figure.add_subplot(grid[divmod(n, columns)], sharex=shared, title=title))
        _panel(drawn[-1], cells, batch_sizes)
    for group in (drawn[:networks], *([axes] for axes in drawn[networks:])):
        _scale(group)
    handles = [*plotting.batch_legend(batch_sizes), Patch(label="manual is slower", **plotting.WORSE)]
    return plotting.legend(figure, handles, 6)


def _scattered(rows: Sequence[Row]) -> Any:
    """The ratios to autodiff by batch size, of many networks."""
    figure = plotting.new_figure(9.6, 4.2, "A step of training by optax, over manual_bp's time", rows)
    steps, axes = [row for row in rows if row["part"] == "step"], figure.subplots()
    plotting.scattered(axes, steps, [slower(row, "optax_scan") for row in steps], {"color": "#0072B2", "marker": "o"})
    plotting.ratio_scale(axes, "time / manual's (above 1: manual is faster)")
    return plotting.legend(figure, [plotting.dot(TOO_NOISY, **plotting.NOISY)], 1)


def _panels(rows: Sequence[Row]) -> tuple[list[tuple[str, list[Row]]], int]:
    """The titles and cells of the panels, and the number of networks, whose panels come first."""
    parts = {part: [row for row in rows if row["part"] == part] for part in ("step", "accuracy", "ensemble")}
    networks = list(dict.fromkeys(row["network"] for row in parts["step"]))
    panels = [(f"a step of {network}", [r for r in parts["step"] if r["network"] == network]) for network in networks]
    panels += [(f"to {GOAL:.0%} of the digits, {row['network']}", [row]) for row in parts["accuracy"]]
    if parts["ensemble"]:
        panels.append((f"one by one against at once, {parts['ensemble'][0]['network']}", parts["ensemble"]))
    return panels, len(networks)


def _names(cells: Sequence[Row]) -> list[str]:
    """The lines of a panel: for each program, or for each size of an ensemble."""
    if cells[0]["part"] == "ensemble":
        return [f"{n} networks" for n in sorted({row["members"] for row in cells})]
    return [program for program in OTHERS if any(program in others(row) for row in cells)]


def _inches(cells: Sequence[Row]) -> float:
    """The height of a panel."""
    return 0.9 + len(_names(cells)) * (0.16 + 0.08 * len({row["batch_size"] for row in cells}))


def _panel(axes: Any, cells: Sequence[Row], batch_sizes: Sequence[int]) -> None:
    """A line for each program, and on it a dot for each cell."""
    names = _names(cells)
    sizes = sorted({row["batch_size"] for row in cells})
    for row in cells:
        style = plotting.shade(batch_sizes.index(row["batch_size"]), len(batch_sizes))
        for program in others(row):
            line = names.index(program if program in names else f"{row['members']} networks")
            y = plotting.height(line, sizes.index(row["batch_size"]), len(sizes))
            plotting.ratio_dot(axes, row, slower(row, program), y, style)
    plotting.named_lines(axes, names)


def _scale(panels: Sequence[Any]) -> None:
    """Scale panels that share an axis, and shade the side on which manual is slower."""
    if panels:
        plotting.ratio_axis(panels)
    for axes in panels:
        axes.set_xlabel("time / manual's (above 1: manual is faster)")
        axes.axvspan(axes.get_xlim()[0], 1, **plotting.WORSE)
