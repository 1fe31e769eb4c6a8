"""A training saved in a file, and resumed from it."""

import dataclasses
import os
from typing import NamedTuple

from manual_bp._checks import numbers
from manual_bp._network import Network, Params
from manual_bp._saving.file import Kind, as_path, read, shown, write
from manual_bp._saving.model import description, disagreement
from manual_bp._saving.tree import difference, pack, unpack
from manual_bp._training.history import History
from manual_bp._training.state import TrainState


class CheckpointError(ValueError):
    """The error for a checkpoint that cannot be written, cannot be read, or is of another training.

    Example:
        >>> try:
        ...     bp.fit(bp.Network((2, 3)), np.ones((2, 8)), np.zeros(8, int), checkpoint=".")
        ... except bp.CheckpointError as error:
        ...     print(error)
        . can't be read (Is a directory); expected a training saved by bp.fit
    """


TRAINING = Kind("training", "a training saved by bp.fit", "remove it to start anew", CheckpointError)


class Progress(NamedTuple):
    """A training after some epochs: the state, the best epoch's parameters, and the history."""

    state: TrainState
    best: Params
    history: History


class Checkpoint:
    """The file of one training, saved after every so many epochs and the last; without a path nothing is saved."""

    def __init__(self, path: str | os.PathLike[str] | None, every: int, network: Network) -> None:
        self.every, self.network = numbers.count("checkpoint_every", every), network
        self.path = None if path is None else as_path("checkpoint", path)

    def begin(self, new: Progress, resume: bool) -> Progress:
        """The training in the file, if there is one and it is to be resumed; otherwise the new one."""
        if self.path is None and resume:
            raise ValueError("resume is True, and checkpoint is None; expected the path of the file to resume from")
        if self.path is None or not os.path.lexists(os.path.realpath(self.path)):
            return new
        content, arrays = read(self.path, TRAINING)
        path, like = shown(self.path), new._replace(history=None)
        with TRAINING.reading(self.path, "content"):
            history = History(**content["history"])
            for column in dataclasses.astuple(history):
                if len(column) != len(history) or not all(isinstance(value, float | int | None) for value in column):
                    raise ValueError("its history has other columns")
            if not resume:
                raise CheckpointError(
                    f"{path} holds a training up to epoch {len(history)}; pass resume=True to go on with it, or "
                    "choose another path"
                )
            if why := disagreement(content["network"], self.network) or difference(content["tree"], like):
                raise CheckpointError(
                    f"{path} holds another training: {shown(why, 130)}; pass the network and optimizer of that "
                    "training, or choose another path"
                )
            return unpack(arrays, like)._replace(history=history)

    def save(self, now: Progress, last: bool) -> None:
        """Save the training, if the epoch is the last or one of every so many."""
        if self.path is None or not (last or len(now.history) % self.every == 0):
            return
        outline, arrays = pack(now._replace(history=None))
        content = {"network": description(self.network), "history": now.history.to_dict(), "tree": outline}
        try:
            write(self.path, TRAINING, content, arrays)
        except OSError as error:
            raise CheckpointError(
                f"{shown(self.path, 100)} could not be written ({shown(error.strerror or error)}); what was there "
                "before is as it was: see that the disk has free space, and resume"
            ) from error
