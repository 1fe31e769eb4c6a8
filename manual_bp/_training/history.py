"""The record of a training, epoch by epoch."""

import dataclasses

import numpy as np
from jax.typing import ArrayLike


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
        cost: the weighted mean of the losses with the L2 penalty, each batch's before its own step.
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
        """Adds an epoch: a value for each list."""
        for name, value in values.items():
            getattr(self, name).append(value)

    def to_dict(self) -> dict[str, list[float | None]]:
        """The lists by name, in the form that JSON and pandas take."""
        return dataclasses.asdict(self)

    def __repr__(self) -> str:
        if not self.cost:
            return "History of 0 epochs"
        last = {name: values[-1] for name, values in self.to_dict().items()}
        return f"History of {len(self)} epochs, last: " + ", ".join(
            f"{name} {value:.4g}" for name, value in last.items() if value is not None
        )


def weighted_mean(values: ArrayLike, weights: ArrayLike) -> float:
    """The weighted mean; 0 if all weights are 0."""
    total = float(np.sum(weights, dtype=np.float64))
    return float(np.sum(np.asarray(values, np.float64) * np.asarray(weights))) / total if total else 0.0
