"""Early stopping: when training ends, and which epoch's parameters it returns."""

import dataclasses
import math

from manual_bp._checks import numbers
from manual_bp._training.history import History

MONITORS = ("validation_cost", "validation_metric", "cost")


@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """End training after `patience` epochs in a row that did not improve on the best one.

    Prechelt, Early stopping, but when? (1998).

    Example:
        >>> X, Y = np.eye(3, dtype="float32"), np.arange(3)
        >>> rule = bp.EarlyStopping(patience=3, monitor="cost", min_delta=0.1)
        >>> result = bp.fit(bp.Network((3, 3)), X, Y, early_stopping=rule)
        >>> result.stopped, len(result.history) - result.best_epoch
        ('early stopping', 3)

    Args:
        patience: the number of epochs, 1 or more.
        min_delta: an improvement has to be larger than this; non-negative.
        monitor: "validation_cost", "cost" or "validation_metric". A higher metric is better, so negate an error.
        restore_best: whether the parameters of the best epoch are returned, rather than those of the last.
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
        """The last epoch, counted from 1, that was better than all before it; 0 if no value was finite."""
        sign = -1.0 if self.monitor == "validation_metric" else 1.0
        best, best_epoch = math.inf, 0
        for epoch, value in enumerate(getattr(history, self.monitor), 1):
            # None: an epoch of a resumed training that had no validation data then
            if value is not None and sign * value < best - self.min_delta:
                best, best_epoch = sign * value, epoch
        return best_epoch

    def stalled(self, history: History) -> bool:
        """Returns whether training is to end."""
        return len(history) - self.best_epoch(history) >= self.patience


# The rule of a training that runs for all its epochs
NEVER = EarlyStopping(patience=2**62, monitor="cost", restore_best=False)


def rule_of(early_stopping: EarlyStopping | None, validated: bool, measured: bool) -> EarlyStopping:
    """The rule given by the user, checked against whether there are validation data and a metric."""
    rule = NEVER if early_stopping is None else early_stopping
    if not isinstance(rule, EarlyStopping):
        raise TypeError(f"early_stopping is {rule!r}; expected a bp.EarlyStopping, such as bp.EarlyStopping()")
    if rule.monitor != "cost" and not validated:
        raise ValueError(
            f"early_stopping monitors {rule.monitor}, but there is no validation data; pass validation_data or "
            "validation_fraction, or use monitor='cost'"
        )
    if rule.monitor == "validation_metric" and not measured:
        raise ValueError("early_stopping monitors validation_metric, but metric is None; pass a metric")
    return rule
