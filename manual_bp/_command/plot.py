"""The learning curves of a training, as a picture."""

import argparse
import os
from typing import Any, cast

import numpy as np

import manual_bp as bp
from manual_bp._command.errors import InputError, cannot_write
from manual_bp._command.examples import Examples
from manual_bp._command.score import scores

# Okabe and Ito's colours, which colour-blind readers tell apart
TRAINING, WATCHED, QUIET = "#0072B2", "#D55E00", "#777777"


def available(path: str) -> None:
    """Refuses, before training, what could not be drawn after it."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise InputError("--plot needs matplotlib: pip install 'manual_bp[bench]'") from None
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise InputError(f"--plot {path}: there is no directory {folder}")


def draw(path: str, name: str, examples: Examples, result: bp.FitResult, options: argparse.Namespace) -> None:
    """The costs, and beside them accuracy or R², the epoch of the lowest cost on the watched examples marked."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

    history, classes = result.history, examples.outputs is None
    watched = "test" if options.patience is None else "validation"
    costs = cast(list[float], history.validation_cost)
    best = int(np.argmin(costs))

    figure: Any = Figure(figsize=(10, 4.4), layout="constrained")
    figure.suptitle(f"Learning curves: {os.path.basename(name)}, seed {options.seed}")
    left, right = figure.subplots(1, 2)
    left.set_title("cost: " + ("cross-entropy, nats" if classes else "squared error / variance"), fontsize=10)
    _curve(left, history.cost, TRAINING, "training examples, mean over the epoch")
    _curve(left, costs, WATCHED, f"{watched} examples, after the epoch", best)
    right.set_title(f"accuracy on {watched} examples, %" if classes else f"R² on {watched} examples", fontsize=10)
    reached = [100 * value if classes else value for value in scores(history, examples.validation.Y)]
    _curve(right, reached, WATCHED, f"{watched} examples, after the epoch", best)
    for axes in (left, right):
        axes.axvline(
            best + 1, color=QUIET, linewidth=0.9, linestyle=":", label=f"lowest {watched} cost, epoch {best + 1}"
        )
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#E8E8E8")
    if max(history.cost + costs) > 5 * min(history.cost + costs) > 0:
        left.set_yscale("log")
        left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        left.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        left.yaxis.set_minor_formatter(NullFormatter())
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    try:
        figure.savefig(path, dpi=120, format="png")
    except OSError as error:
        raise cannot_write(path, error) from None


def _curve(axes: Any, values: list[float], colour: str, label: str, marked: int | None = None) -> None:
    axes.plot(range(1, len(values) + 1), values, color=colour, label=label, marker="." if len(values) < 15 else None)
    if marked is not None:
        axes.plot(marked + 1, values[marked], "o", color=colour)
