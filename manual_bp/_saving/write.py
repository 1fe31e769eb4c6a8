"""The files of a saved model, written so that there is always a whole one.

A directory holds model.json, what the network is, and weights-<sha256>.npz, its parameters. The name of the weights
follows their content, so a save over a model replaces no file but model.json: the one rename that does this takes the
directory from the old model to the new one.
"""

import hashlib
import io
import json
import os
import re
import secrets
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from manual_bp._network import Params

FORMAT, VERSION = "manual_bp model", 1
MODEL = "model.json"
SHA256 = re.compile("[0-9a-f]{64}")
# A save that was cut off can leave these, in a directory that was empty before
LEFTOVER = re.compile(r"weights-[0-9a-f]{16}\.npz|\.saving-[0-9a-f]{16}")


def write(path: Path, about: dict[str, Any], params: Params) -> None:
    """The directory, on the disk on return; until then what was there before."""
    data = _pack(params)
    sha256 = hashlib.sha256(data).hexdigest()
    model = {"format": FORMAT, "version": VERSION, "manual_bp": version("manual_bp"), **about, "sha256": sha256}
    weights = weights_name(sha256)
    # The weights first: model.json names them
    files = {weights: data, MODEL: json.dumps(model, indent=2).encode()}
    old = _replaceable(path)
    if path.exists():
        try:
            _put(path, files)
        finally:
            for name in {old, weights} - {None, _weights_in_use(path)}:
                (path / name).unlink(missing_ok=True)
        return
    temporary = path.with_name(_temporary_name())
    try:
        temporary.mkdir(parents=True)
        _put(temporary, files)
        os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync_directory(path.parent)


def _pack(params: Params) -> bytes:
    arrays = {}
    for l, layer in enumerate(params, start=1):
        for name, value in (("W", layer.W), ("b", layer.b)):
            value = np.asarray(value)
            arrays[f"{name}{l}"] = value.view(stored(value.dtype))
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def stored(dtype: np.dtype) -> np.dtype:
    """What the file has: bfloat16, which .npz doesn't know, as its bits."""
    return np.dtype(np.uint16) if dtype == jnp.bfloat16 else dtype


def _replaceable(path: Path) -> str | None:
    """The weights of the model there, None where there is no model; an error if there is anything else."""
    if not path.exists():
        return None
    if not path.is_dir():
        raise FileExistsError(f"{path} is a file; expected a new directory or a saved model: choose another path")
    try:
        weights = _weights_in_use(path)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FileExistsError(
            f"{path} holds a {MODEL} that is damaged or not of a saved model: choose another path, or delete it"
        ) from None
    foreign = [name for name in sorted(os.listdir(path)) if not LEFTOVER.fullmatch(name)]
    if weights is None and foreign:
        raise FileExistsError(
            f"{path} holds {some(foreign)}; expected a new or empty directory, or a saved model: choose another path"
        )
    return weights


def _weights_in_use(path: Path) -> str | None:
    """The weights that model.json names; None where there is no model.json."""
    try:
        model = json.loads((path / MODEL).read_bytes())
    except FileNotFoundError:
        return None
    if model["format"] != FORMAT:
        raise ValueError(model["format"])
    return weights_name(model["sha256"])


def _put(directory: Path, files: dict[str, bytes]) -> None:
    """Each file by one rename, on the disk before the next."""
    for name, data in files.items():
        temporary = directory / _temporary_name()
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, directory / name)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(directory)


def _sync_directory(path: Path) -> None:
    """The renames in it, on the disk."""
    if os.name == "nt":  # has no handle of a directory, and writes its renames itself
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def weights_name(sha256: str) -> str:
    # a name of anything else could lead out of the directory
    if not SHA256.fullmatch(sha256):
        raise ValueError(sha256)
    return f"weights-{sha256[:16]}.npz"


def _temporary_name() -> str:
    return f".saving-{secrets.token_hex(8)}"


def some(names: Any) -> str:
    """The first few, for a message of one line."""
    names = list(names)
    return (", ".join(names[:6]) + (", ..." if len(names) > 6 else "")) or "nothing"
