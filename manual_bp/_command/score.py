"""How well a network does: the accuracy where it tells classes apart, R² where it gives values."""

from collections.abc import Sequence
from typing import cast

import numpy as np

import manual_bp as bp


def score(cost: float, accuracy: float | None, Y: np.ndarray) -> float:
    """The accuracy, or R² = 1 - (mean squared error) / (variance of the targets) where there is none."""
    if accuracy is not None:
        return accuracy
    variance = float(np.var(Y))
    return 1 - cost / variance if variance else float("nan")


def scores(history: bp.History, Y: np.ndarray) -> list[float]:
    """Those of the validation examples, whose targets Y are, after each epoch."""
    costs = cast(Sequence[float], history.validation_cost)
    return [score(cost, accuracy, Y) for cost, accuracy in zip(costs, history.validation_metric, strict=True)]


def shown(score: float, values: bool) -> str:
    if values:
        return "R² undefined, as all targets are equal" if np.isnan(score) else f"R² {score:.4f}"
    return f"accuracy {score:.2%}"
