"""A training kept in a directory, and taken up again."""

from os import PathLike
from typing import Any, NamedTuple

from manual_bp._checks import numbers
from manual_bp._network import Network, Params
from manual_bp._training.checkpoints import CheckpointError, Checkpoints
from manual_bp._training.history import History
from manual_bp._training.state import TrainState


class Progress(NamedTuple):
    """A training after some epochs: the state, the best epoch's parameters, and the history."""

    state: TrainState
    best: Params
    history: History


class Kept:
    """Checkpoints of one training, every so many epochs; none without a directory."""

    def __init__(self, directory: str | PathLike | None, every: int, network: Network) -> None:
        self.every, self.network = numbers.count("checkpoint_every", every), _describe(network)
        self.checkpoints = None if directory is None else Checkpoints(directory)

    def begin(self, new: Progress, resume: bool) -> Progress:
        """The training as it was kept last, if it is to be resumed and anything was kept; else the new one."""
        if self.checkpoints is None:
            if resume:
                raise ValueError("resume is True, and checkpoint is None; expected the directory to resume from")
            return new
        found, directory = self.checkpoints.latest(), self.checkpoints.directory
        if found is None:
            return new
        if not resume:
            raise CheckpointError(
                f"{directory} holds a training of {found.epoch} epochs; pass resume=True to go on with it, or give "
                "another directory"
            )
        if found.about.get("network") != self.network:
            raise CheckpointError(
                f"{directory} holds a training of the network {found.about.get('network')}; expected {self.network}: "
                "give that network, or another directory"
            )
        arrays = {"state": new.state, "best": new.best}
        return Progress(**found.restore(arrays), history=History(**found.about["history"]))

    def save(self, now: Progress, last: bool) -> None:
        """Keeps the training as it is after an epoch, if it is that epoch's turn or the last."""
        if self.checkpoints is not None and (last or len(now.history) % self.every == 0):
            about = {"network": self.network, "history": now.history.to_dict()}
            self.checkpoints.save(len(now.history), {"state": now.state, "best": now.best}, about)


def _describe(network: Network) -> dict[str, Any]:
    """Enough in words to tell one network from another."""
    return {
        "sizes": list(network.sizes),
        "activations": [repr(g) for g in network.activations],
        "cost": repr(network.cost),
    }
