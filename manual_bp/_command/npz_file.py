"""An .npz with X and y."""

import zipfile
import zlib
from typing import BinaryIO

import numpy as np

from manual_bp._command.errors import InputError
from manual_bp._command.table import Table, some

# What np.load raises on bytes that are no archive, or a damaged one
_DAMAGED = (ValueError, EOFError, OSError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)


def read(file: BinaryIO, targets: bool) -> Table:
    """X, and y if the targets are wanted."""
    try:
        arrays = np.load(file, allow_pickle=False)
    except _DAMAGED:
        raise InputError("not an .npz file, or a damaged one") from None
    if not isinstance(arrays, np.lib.npyio.NpzFile):
        raise InputError("holds a single array; expected an .npz with X and y, as np.savez(file, X=X, y=y) writes")
    names = ("X", "y") if targets else ("X",)
    X, *y = (_array(arrays, name, " and ".join(names)) for name in names)
    if X.dtype.kind not in "biuf":
        raise InputError(f"X has dtype {X.dtype}; expected numbers")
    if X.ndim != 2 or 0 in X.shape:
        hint = ": save X.reshape(len(X), -1)" if X.ndim > 2 and X.size else ""
        raise InputError(f"X has shape {X.shape}; expected (examples, features), at least one of each{hint}")
    if targets and y[0].shape != X.shape[:1]:
        hint = ": rows are examples, so save X.T" if y[0].shape == X.shape[1:] else ""
        raise InputError(f"X has shape {X.shape} and y {y[0].shape}; expected a label for each row of X{hint}")
    return Table(
        X=X.astype(np.float64),
        y=y[0] if targets else None,
        features=None,
        target=None,
        place=lambda i, j: f"X[{i}, {j}]",
        target_place=lambda i: f"y[{i}]",
    )


def _array(arrays: np.lib.npyio.NpzFile, name: str, expected: str) -> np.ndarray:
    if name not in arrays.files:
        raise InputError(f"has no array {name}; expected {expected}, found {some(arrays.files) or 'none'}")
    try:
        value = arrays[name]
    except _DAMAGED as error:
        if "pickle" in str(error):
            raise InputError(f"{name} is an array of Python objects; expected numbers, or text for y") from None
        raise InputError(f"{name} is damaged") from None
    if not isinstance(value, np.ndarray):
        raise InputError(f"{name} is damaged")
    return value
