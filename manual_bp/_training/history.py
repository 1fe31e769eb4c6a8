"""The record of a training, epoch by epoch, and its result."""

import dataclasses
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from manual_bp._network import Params
from manual_bp._show import layer_lines
from manual_bp._training.state import TrainState


@dataclasses.dataclass(frozen=True)
class History:
    """Lists with one value for each epoch.

    Example:
        >>> history = bp.fit(bp.Network((3, 3)), np.eye(3, dtype="float32"), np.arange(3), epochs=20).history
        >>> len(history), history.cost[-1] < history.cost[0]
        (20, True)
        >>> sorted(history.to_dict())[:2]
        ['cost', 'gradient_norm']

    Attributes:
        cost: the weighted mean cost of the epoch, with the L2 penalty. Each batch is measured before its own step.
        gradient_norm: the mean over steps of the gradient's norm, before `max_gradient_norm`.
        validation_cost, validation_metric: of the validation data, after the epoch; None without such data.
        learning_rate: the rate of the last step; None if the optimizer's state does not hold it.
        seconds: the duration of the epoch.
    """

    cost: list[float] = dataclasses.field(default_factory=list)
    gradient_norm: list[float] = dataclasses.field(default_factory=list)
    validation_cost: list[float | None] = dataclasses.field(default_factory=list)
    validation_metric: list[float | None] = dataclasses.field(default_factory=list)
    learning_rate: list[float | None] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)

    def __len__(self) -> int:
        """The number of epochs."""
        return len(self.cost)

    def append(self, **values: float | None) -> None:
        """Adds an epoch, with a value for each list."""
        for name, value in values.items():
            getattr(self, name).append(value)

    def to_dict(self) -> dict[str, list[float | None]]:
        """The lists by name, in the form that JSON and pandas take."""
        return dataclasses.asdict(self)

    def __repr__(self) -> str:
        if not self.cost:
            return "History of 0 epochs"
        last = {name: values[-1] for name, values in self.to_dict().items()}
        return f"History of {len(self)} epoch{'s' * (len(self) > 1)}, last: " + ", ".join(
            f"{name} {value:.4g}" for name, value in last.items() if value is not None
        )


class FitResult(NamedTuple):
    """The result of a training.

    Example:
        >>> X, Y = np.eye(3, dtype="float32"), np.arange(3)
        >>> result = bp.fit(bp.Network((3, 3)), X, Y, epochs=2)
        >>> again = bp.fit(bp.Network((3, 3)), X, Y, epochs=2, state=result.state)
        >>> len(again.history), int(again.state.step)
        (2, 4)

    Attributes:
        params: the parameters of `best_epoch`; finite if training started from finite ones.
        state: the state to continue from: after the last epoch, or before the step that was not finite.
        history: the `bp.History` of all epochs.
        best_epoch: the best epoch under early stopping with restore_best, else the last one, counted from 1; 0 if none.
        stopped: why training ended: "epochs", "early stopping", "callback" or "not finite".
    """

    params: Params
    state: TrainState
    history: History
    best_epoch: int
    stopped: str

    def __repr__(self) -> str:
        head = f"FitResult, stopped by {self.stopped!r}, best epoch {self.best_epoch}"
        return "\n  ".join([head, repr(self.history), *layer_lines(self.params)])


def weighted_mean(values: ArrayLike, weights: ArrayLike) -> float:
    """The weighted mean; 0 if all weights are 0."""
    total = float(np.sum(weights, dtype=np.float64))
    return float(np.sum(np.asarray(values, np.float64) * np.asarray(weights))) / total if total else 0.0
