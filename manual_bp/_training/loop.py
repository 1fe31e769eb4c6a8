"""The loop over epochs, shared by `bp.fit` and the estimators."""

import dataclasses
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from manual_bp._network import Params
from manual_bp._training.history import History
from manual_bp._training.progress_bar import progress_bar
from manual_bp._training.state import TrainState


class Epoch(NamedTuple):
    """A finished epoch, as callbacks receive it.

    Example:
        >>> def stop_when_good(epoch: bp.Epoch) -> bool:
        ...     return epoch.history.cost[-1] < 0.1
        >>> X, Y = np.eye(3, dtype="float32"), np.arange(3)
        >>> bp.fit(bp.Network((3, 3)), X, Y, learning_rate=0.5, callbacks=[stop_when_good]).stopped
        'callback'

    Attributes:
        number: its number, counted from 1.
        state: the state after it.
        history: the history of all epochs so far.
    """

    number: int
    state: TrainState
    history: History


@dataclasses.dataclass
class Training:
    """A training between two epochs. The loop changes it in place: after an interruption it holds the last whole epoch.

    Attributes:
        state: the state after the last epoch, or before the first step that was not finite.
        best: the parameters of the best epoch so far.
        history: all epochs so far.
        stopped: why training ended; None while it goes on.
    """

    state: TrainState
    best: Params
    history: History
    stopped: str | None = None


# The state after an epoch, and its cost, gradient_norm and learning_rate; None if one of its steps was not finite
EpochResult = tuple[TrainState, dict[str, float | None] | None]


def run_epochs(
    training: Training,
    *,
    run_epoch: Callable[[TrainState, int], EpochResult],
    validate: Callable[[Params], tuple[float | None, float | None]],
    is_best: Callable[[], bool],
    after_epoch: Callable[[bool], str | None],
    callbacks: Iterable[Callable[[Epoch], Any]],
    epochs: int,
    earlier: int = 0,
    progress: bool = False,
) -> None:
    """Runs epochs until `training.stopped` is set.

    Args:
        training: the training to continue.
        run_epoch: a function of the state and the number of epochs before it.
        validate: a function of the parameters that returns the cost and the metric of the validation data, or None.
        is_best: whether the epoch just added to the history is the best so far.
        after_epoch: a function that is told whether a callback asked to stop. It returns why training ends, or None.
        callbacks: functions of an `Epoch`. All are called, also after one that asks to stop by returning True.
        epochs: the length of the history at which the progress bar is full.
        earlier: epochs at the start of the history that `Epoch.number` does not count.
        progress: whether the bar is shown.
    """
    history = training.history
    with progress_bar(epochs, len(history), progress) as show:
        while training.stopped is None:
            began = time.perf_counter()
            training.state, figures = run_epoch(training.state, len(history))
            if figures is None:
                training.stopped = "not finite"
                return
            cost, metric = validate(training.state.params)
            seconds = time.perf_counter() - began
            history.append(**figures, validation_cost=cost, validation_metric=metric, seconds=seconds)
            if is_best():
                training.best = training.state.params
            show(history)
            epoch = Epoch(len(history) - earlier, training.state, history)
            answers = [callback(epoch) for callback in callbacks]
            training.stopped = after_epoch(any(answer is True for answer in answers))
