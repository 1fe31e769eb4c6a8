"""The loop over epochs that `bp.fit` and the estimators share, with callbacks and a progress bar."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from manual_bp._network import Params
from manual_bp._training.history import History
from manual_bp._training.state import TrainState


class Epoch(NamedTuple):
    """A finished epoch, as callbacks receive it: its number, counted from 1, and the state and history after it.

    Example:
        >>> def stop_when_good(epoch: bp.Epoch) -> bool:
        ...     return epoch.history.cost[-1] < 0.1
        >>> X, Y = np.eye(3, dtype="float32"), np.arange(3)
        >>> bp.fit(bp.Network((3, 3)), X, Y, learning_rate=0.5, callbacks=[stop_when_good]).stopped
        'callback'
    """

    number: int
    state: TrainState
    history: History


def check_callbacks(callbacks: Any) -> None:
    """Refuse anything but a sequence of functions."""
    if not isinstance(callbacks, Sequence) or not all(map(callable, callbacks)):
        raise TypeError(f"callbacks is {callbacks!r}; expected a list of functions of a bp.Epoch")


@dataclasses.dataclass
class Training:
    """A training between two epochs. The loop changes it in place: after an interruption it holds the last whole epoch.

    `best` holds the parameters of the best epoch so far, and `stopped` why training ended, None while it goes on.
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

    `run_epoch` takes the state and the number of epochs before. `validate` takes the parameters and returns the cost
    and metric of the validation data. `is_best` judges the epoch just added to the history. `after_epoch` is told
    whether a callback asked to stop, and returns why training ends, or None. The progress bar is full once the history
    has `epochs` epochs; the `earlier` ones at its start do not count in `Epoch.number`.
    """
    history = training.history
    with _progress_bar(epochs, len(history), progress) as show:
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


@contextlib.contextmanager
def _progress_bar(epochs: int, done: int, shown: bool) -> Iterator[Callable[[History], None]]:
    """Yields the function that moves the bar to the last epoch of a history; without a bar it does nothing."""
    if not shown:
        yield lambda history: None
        return
    try:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ModuleNotFoundError:
        raise ModuleNotFoundError("progress needs rich: pip install 'manual_bp[train]'") from None
    last_values = TextColumn("{task.fields[last]}")
    with Progress(TextColumn("epoch"), MofNCompleteColumn(), BarColumn(), TimeRemainingColumn(), last_values) as bar:
        task = bar.add_task("", total=epochs, completed=done, last="")

        def show(history: History) -> None:
            shown = {"cost": history.cost, "validation": history.validation_cost, "metric": history.validation_metric}
            last = {name: values[-1] for name, values in shown.items()}
            text = "  ".join(f"{name} {value:.4g}" for name, value in last.items() if value is not None)
            bar.update(task, completed=len(history), last=text)

        yield show
