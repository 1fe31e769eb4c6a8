"""The result of a training."""

from typing import NamedTuple

from manual_bp._network import Params
from manual_bp._show import layer_lines
from manual_bp._training.history import History
from manual_bp._training.state import TrainState


class FitResult(NamedTuple):
    """The result of a training.

    Example:
        >>> X, Y = np.eye(3, dtype="float32"), np.arange(3)
        >>> result = bp.fit(bp.Network((3, 3)), X, Y, epochs=2)
        >>> again = bp.fit(bp.Network((3, 3)), X, Y, epochs=2, state=result.state)
        >>> len(again.history), int(again.state.step)
        (2, 4)

    Attributes:
        params: the parameters of `best_epoch`; always finite.
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
