"""Checkpoints of a training: a folder for each, which is there as a whole or not at all."""

import contextlib
import dataclasses
import json
import operator
import os
import re
import shutil
from pathlib import Path
from typing import Any

from manual_bp._checks import numbers
from manual_bp._training import checkpoint_files as files
from manual_bp._training import checkpoint_state as states

UNFINISHED = ".unfinished"


class CheckpointError(ValueError):
    """A checkpoint that cannot be written, cannot be read, or is of another state; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The state after an epoch, on disk.

    Attributes:
        epoch: the number it was saved under.
        about: what was saved with it, as JSON gives it back (tuples are lists).
    """

    epoch: int
    about: dict[str, Any]
    _outline: list[states.Entry] = dataclasses.field(repr=False)
    _path: Path = dataclasses.field(repr=False)

    def restore(self, like: Any) -> Any:
        """The state, bit for bit, in the tree of `like` and on its devices.

        Args:
            like: a state of the same structure, shapes and dtypes, such as a new one. A leaf gets the sharding of its
                counterpart; values are not looked at.

        Raises:
            CheckpointError: it holds another state than one like that.
        """
        if difference := states.difference(self._outline, like):
            raise CheckpointError(
                f"{self._path} holds another state: {difference}; resume with the network and the optimizer that it "
                "was saved with, or choose another directory"
            )
        return states.unpack(self._outline, files.read_arrays(self._path), like)


class Checkpoints:
    """A directory of checkpoints, each a folder DIRECTORY/EPOCH. One process at a time may save there.

    Args:
        directory: made with the first checkpoint, if it is missing.
        keep: how many of the newest to keep, 1 or more.

    Raises:
        ImportError: the extra `train` is missing.
        CheckpointError: the directory is a file.
    """

    def __init__(self, directory: str | os.PathLike[str], keep: int = 2) -> None:
        files.orbax()
        self.directory = Path(directory).absolute()
        self.keep = numbers.count("keep", keep)
        if self.directory.exists() and not self.directory.is_dir():
            raise CheckpointError(f"{self.directory} is a file; expected a directory of checkpoints")

    def save(self, epoch: int, state: Any, about: dict[str, Any]) -> None:
        """Save the state after an epoch: on return it is on the disk. Only the newest `keep` checkpoints stay.

        Args:
            epoch: 0 or more, and later than those in the directory.
            state: a pytree of arrays (JAX's, random keys included, or NumPy's) and Python numbers.
            about: anything that JSON can hold.

        Raises:
            CheckpointError: it could not be written. Earlier checkpoints are as they were.
            TypeError: a leaf of another kind, or something in `about` that JSON cannot hold.
        """
        epoch, before = operator.index(epoch), _epochs(self.directory)
        newest = self.directory / str(before[-1]) if before else None
        if epoch < (least := before[-1] + 1 if before else 0):
            there = f", as {newest} is there: resume from it, or choose another directory" if newest else ""
            raise CheckpointError(f"epoch is {epoch}; expected {least} or more{there}")
        outline, arrays = states.pack(state)
        content = {"epoch": epoch, "about": about, "state": outline}
        json.dumps(content)  # what JSON cannot hold is the caller's mistake, not the disk's
        path = self.directory / str(epoch)
        try:
            for leftover in _epochs(self.directory, UNFINISHED):
                shutil.rmtree(_unfinished(self.directory / str(leftover)), ignore_errors=True)
            files.write(_unfinished(path), content, arrays)
            _unfinished(path).rename(path)
            files.fsync(self.directory)
        except Exception as error:  # where the disk is full orbax raises a ValueError
            shutil.rmtree(_unfinished(path), ignore_errors=True)
            untouched = f"{newest} is as it was: " if newest else ""
            raise CheckpointError(
                f"{path} could not be written ({files.reason(error)}); {untouched}see that {self.directory} can "
                "be written to and has free space, and resume"
            ) from error
        for old in [*before, epoch][: -self.keep]:
            _remove(self.directory / str(old))

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint, or None if there is none; one that was never finished does not count.

        Raises:
            CheckpointError: it is damaged, or not a checkpoint.
        """
        if not (epochs := _epochs(self.directory)):
            return None
        path = self.directory / str(epochs[-1])
        try:
            content = files.read(path)
        except files.Damaged as damage:
            raise _error(path, damage) from damage.__cause__
        return Checkpoint(content["epoch"], content["about"], content["state"], path)


def _epochs(directory: Path, suffix: str = "") -> list[int]:
    """In order, those of which there is a folder with this suffix."""
    names = (path.name for path in (directory.iterdir() if directory.exists() else ()))
    return sorted(int(name.removesuffix(suffix)) for name in names if re.fullmatch(f"(0|[1-9][0-9]*){suffix}", name))


def _unfinished(path: Path) -> Path:
    return path.with_name(path.name + UNFINISHED)


def _remove(path: Path) -> None:
    # What cannot be removed now can be after the next save, and what is not a checkpoint is somebody else's
    with contextlib.suppress(OSError):
        if (path / files.NAME).is_file():
            # so that it does not look like a checkpoint when it is half deleted
            shutil.rmtree(path.rename(_unfinished(path)))


def _error(path: Path, damage: files.Damaged) -> CheckpointError:
    """What is wrong, and the way out: the newest of the older checkpoints that is intact."""
    bad, way_out = [path], "to start anew: none before it is intact"
    for epoch in reversed(_epochs(path.parent)):
        older = path.parent / str(epoch)
        if epoch < int(path.name):
            try:
                files.read(older)
            except files.Damaged:
                bad.append(older)
            else:
                way_out = f"to resume from epoch {epoch}, which is intact"
                break
    return CheckpointError(f"{path} {damage}; remove {' and '.join(map(str, bad))} {way_out}")
