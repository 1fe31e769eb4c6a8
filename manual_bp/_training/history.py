"""What is known of a training, epoch by epoch."""

import dataclasses

import numpy as np
from jax.typing import ArrayLike


@dataclasses.dataclass(frozen=True)
class History:
    """Columns with a value for each epoch.

    Attributes:
        cost: the weighted mean of the examples' losses, each taken before its own step, with the L2 penalty.
        gradient_norm: the mean over steps of the norm of the gradient, before `max_gradient_norm`.
        validation_cost, validation_metric: of the validation data after the epoch; None without.
        learning_rate: of the last step; None for an optimizer whose state does not hold it.
        seconds: of the epoch.
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
        for name, value in values.items():
            getattr(self, name).append(value)

    def to_dict(self) -> dict[str, list[float | None]]:
        """The columns by name, such as JSON or pandas take."""
        return dataclasses.asdict(self)

    def __repr__(self) -> str:
        if not self.cost:
            return "History of 0 epochs"
        last = {name: column[-1] for name, column in self.to_dict().items()}
        return f"History of {len(self)} epochs, last: " + ", ".join(
            f"{name} {value:.4g}" for name, value in last.items() if value is not None
        )


def mean(values: ArrayLike, weights: ArrayLike) -> float:
    """The weighted mean; 0 where all weights are."""
    total = float(np.sum(weights, dtype=np.float64))
    return float(np.sum(np.asarray(values, np.float64) * np.asarray(weights))) / total if total else 0.0
