"""When to stop, and which epoch's parameters to return."""

import dataclasses
import math

from manual_bp._checks import numbers
from manual_bp._training.history import History

MONITORS = ("validation_cost", "validation_metric", "cost")


@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """Stops after `patience` epochs in a row that were no better than the best before them.

    Prechelt, Early stopping, but when? (1998).

    Args:
        patience: epochs, 1 or more.
        min_delta: how much better counts as better, 0 or above.
        monitor: what is watched: "validation_cost", "validation_metric", of which more is better (so let the metric be
            the negative of an error), or "cost".
        restore_best: whether the parameters of the best epoch are returned, or those of the last.

    Raises:
        TypeError, ValueError: a value out of its range.
    """

    patience: int = 10
    min_delta: float = 0.0
    monitor: str = "validation_cost"
    restore_best: bool = True

    def __post_init__(self) -> None:
        numbers.count("patience", self.patience)
        numbers.non_negative("min_delta", self.min_delta)
        if self.monitor not in MONITORS:
            raise ValueError(f"monitor is {self.monitor!r}; expected one of {', '.join(MONITORS)}")

    def best_epoch(self, history: History) -> int:
        """The last epoch, counted from 1, that was better than all before it; 0 if none was finite."""
        sign = -1.0 if self.monitor == "validation_metric" else 1.0
        best, at = math.inf, 0
        for epoch, value in enumerate(getattr(history, self.monitor), 1):
            # None: that epoch, of a training that is resumed, had no validation data
            if value is not None and sign * value < best - self.min_delta:
                best, at = sign * value, epoch
        return at

    def stalled(self, history: History) -> bool:
        """Whether training is to end."""
        return len(history) - self.best_epoch(history) >= self.patience


# Of a training that runs for all its epochs
NEVER = EarlyStopping(patience=2**62, monitor="cost", restore_best=False)


def rule_of(early_stopping: EarlyStopping | None, validated: bool, measured: bool) -> EarlyStopping:
    """What a user gives as `early_stopping`, of a training that is validated and measured, or not."""
    if early_stopping is None:
        return NEVER
    if not isinstance(early_stopping, EarlyStopping):
        raise TypeError(
            f"early_stopping is {early_stopping!r}; expected a bp.EarlyStopping, such as bp.EarlyStopping()"
        )
    if early_stopping.monitor != "cost" and not validated:
        raise ValueError(
            f"early_stopping monitors {early_stopping.monitor}, and there is no validation data; expected "
            "validation_data or validation_fraction, or monitor='cost'"
        )
    if early_stopping.monitor == "validation_metric" and not measured:
        raise ValueError("early_stopping monitors validation_metric, and there is no metric; expected one")
    return early_stopping
