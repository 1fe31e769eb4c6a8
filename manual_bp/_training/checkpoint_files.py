"""One checkpoint as a folder: the arrays by orbax, all else in checkpoint.json, with the digests of orbax's files."""

import contextlib
import hashlib
import importlib
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

FORMAT = 1
NAME = "checkpoint.json"
ARRAYS = "arrays"


class Damaged(Exception):
    """What is wrong with a checkpoint."""


def orbax() -> ModuleType:
    try:
        return importlib.import_module("orbax.checkpoint")
    except ImportError as error:
        if error.name and error.name.split(".")[0] != "orbax":
            raise
        raise ImportError("checkpoints need orbax-checkpoint: pip install 'manual_bp[train]'") from None


def write(path: Path, content: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """A new folder, all of it on the disk: a rename after this never shows a folder without what is in it."""
    path.mkdir(parents=True)
    with _checkpointer() as checkpointer:
        checkpointer.save(path / ARRAYS, args=orbax().args.PyTreeSave(arrays))
    content = {"format": FORMAT, **content, "files": _digests(path)}
    (path / NAME).write_text(json.dumps({"sha256": _digest(content), "content": content}))
    for each in (path, *path.rglob("*")):
        fsync(each)


def read(path: Path) -> dict[str, Any]:
    """The content of checkpoint.json, after a look at every byte in the folder.

    orbax does not notice damage to the arrays themselves, and prints tracebacks where it notices other damage.
    """
    try:
        whole = json.loads((path / NAME).read_text())
        content = whole["content"]
        if whole["sha256"] != _digest(content):
            raise Damaged(f"is damaged: {NAME} is not as it was saved")
        if content["format"] != FORMAT:
            raise Damaged(f"is of format {content['format']}; expected {FORMAT}, that of this version of manual_bp")
        if str(content["epoch"]) != path.name:
            raise Damaged(f"was renamed: it holds epoch {content['epoch']}")
        digests = _digests(path)
    except FileNotFoundError:
        raise Damaged(f"is not a checkpoint of manual_bp: it has no {NAME}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"is damaged: it cannot be read ({reason(error)})") from error
    for name, digest in content["files"].items():
        if digests.get(name) != digest:
            raise Damaged(f"is damaged: {name} is {'not as it was saved' if name in digests else 'missing'}")
    return content


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    with _checkpointer() as checkpointer:
        return checkpointer.restore(path / ARRAYS, args=orbax().args.PyTreeRestore())


def fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def reason(error: Exception) -> str:
    """In a line: where the operating system has one, as tensorstore puts at the end of a long text, that alone."""
    number = re.search(r"os_error_code='(\d+)'|^\[Errno (\d+)\]", str(error))
    return os.strerror(int(number[1] or number[2])) if number else str(error).split("\n")[0] or type(error).__name__


def _digests(path: Path) -> dict[str, str]:
    """Of all files that orbax wrote."""
    digests = {}
    for each in sorted((path / ARRAYS).rglob("*")):
        if each.is_file():
            with each.open("rb") as file:
                digests[each.relative_to(path).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


@contextlib.contextmanager
def _checkpointer() -> Iterator[Any]:
    """Without orbax's log, which has the tracebacks of its threads: what fails there is raised as well."""
    logger = logging.getLogger("absl")

    def by_others(record: logging.LogRecord) -> bool:
        return "orbax" not in Path(record.pathname).parts

    logger.addFilter(by_others)
    try:
        with orbax().Checkpointer(orbax().PyTreeCheckpointHandler()) as checkpointer:
            yield checkpointer
    finally:
        logger.removeFilter(by_others)
