"""Labelled examples: scikit-learn's handwritten digits, or a file of the user's own, checked where they enter."""

import dataclasses
import zipfile
import zlib
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from manual_bp import _csv
from manual_bp._csv import DataError

# What np.load raises on bytes that are no archive, or a damaged one
_DAMAGED = (ValueError, EOFError, OSError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Examples and their classes.

    Attributes:
        name: what a user calls it.
        X: features, shape (examples, features), float64.
        y: each example's class, an index into `classes`, shape (examples,).
        classes: the labels, sorted.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    classes: np.ndarray


def digits() -> Dataset:
    """The 1,797 handwritten digits that come with scikit-learn, 8 x 8 pixels each."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise DataError("the digits come with scikit-learn: pip install 'manual_bp[sklearn]'") from None
    X, y = load_digits(return_X_y=True)
    return Dataset("handwritten digits", X, y, np.unique(y))


def read(path: str, target: str | None = None) -> Dataset:
    """The examples in a file.

    Args:
        path: an .npz with X (examples, features) and y (examples,), or a .csv with a header row.
        target: the column of the .csv that holds the classes; `_csv.target_column` chooses unless given.

    Raises:
        DataError: the file can't be read or trained on.
    """
    try:
        with open(path, "rb") as file:
            suffix = path[path.rfind(".") :].lower()
            if suffix not in (".npz", ".csv"):
                raise DataError("expected a file named .npz or .csv")
            if not file.peek(1):
                raise DataError("the file is empty")
            if suffix == ".csv":
                table = _csv.read(file, target)
                name = f"{path}, target column {table.target!r}"
                return _dataset(name, table.X, table.y, table.place, table.target_place)
            X, y = _read_npz(file)
            return _dataset(path, X, y, lambda i, j: f"X[{i}, {j}]", lambda i: f"y[{i}]")
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except OSError as error:
        raise DataError(f"{path}: {(error.strerror or str(error)).lower()}") from None


def _read_npz(file: BinaryIO) -> tuple[np.ndarray, np.ndarray]:
    try:
        arrays = np.load(file, allow_pickle=False)
    except _DAMAGED:
        raise DataError("not an .npz file, or a damaged one") from None
    if not isinstance(arrays, np.lib.npyio.NpzFile):
        raise DataError("holds a single array; expected an .npz with X and y, as np.savez(file, X=X, y=y) writes")
    X, y = (_array(arrays, key) for key in ("X", "y"))
    if X.dtype.kind not in "biuf":
        raise DataError(f"X has dtype {X.dtype}; expected numbers")
    if X.ndim != 2 or 0 in X.shape:
        hint = ": save X.reshape(len(X), -1)" if X.ndim > 2 and X.size else ""
        raise DataError(f"X has shape {X.shape}; expected (examples, features), at least one of each{hint}")
    if y.shape != X.shape[:1]:
        hint = ": rows are examples, so save X.T" if y.shape == X.shape[1:] else ""
        raise DataError(f"X has shape {X.shape} and y {y.shape}; expected a label for each row of X{hint}")
    return X.astype(np.float64), y


def _array(arrays: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
    if key not in arrays.files:
        raise DataError(f"has no array {key}; expected X and y, found {_csv.some(arrays.files) or 'none'}")
    try:
        value = arrays[key]
    except _DAMAGED as error:
        if "pickle" in str(error):
            raise DataError(f"{key} is an array of Python objects; expected numbers, or text for y") from None
        raise DataError(f"{key} is damaged") from None
    if not isinstance(value, np.ndarray):
        raise DataError(f"{key} is damaged")
    return value


def _dataset(
    name: str, X: np.ndarray, y: np.ndarray, place: Callable[[int, int], str], target_place: Callable[[int], str]
) -> Dataset:
    """Checked examples; `place` says where in the file an entry stands."""
    # Training is in float32: a number beyond it is as good as infinite
    bad = np.argwhere(~(np.abs(X) <= np.finfo(np.float32).max))
    if len(bad):
        i, j = bad[0]
        raise DataError(f"{place(i, j)}: {X[i, j]:g} is not a finite float32 number")
    if (X == X[0]).all():
        raise DataError("every feature is constant: there is nothing to learn from")
    classes, indices = _classes(y, target_place)
    return Dataset(name, X, indices, classes)


def _classes(y: np.ndarray, place: Callable[[int], str]) -> tuple[np.ndarray, np.ndarray]:
    """The sorted labels and each example's index among them."""
    if y.dtype.kind not in "biufU":
        raise DataError(f"y has dtype {y.dtype}; expected class labels, integers or text")
    if y.dtype.kind == "U" and (y == "").any():
        raise DataError(f"{place(int(np.argmax(y == '')))}: the class label is missing")
    if y.dtype.kind == "f":
        label = np.isfinite(y) & (np.trunc(y) == y)
        if not label.all():
            i = int(np.argmin(label))
            hint = " (a continuous target?)" if np.isfinite(y[i]) else ""
            raise DataError(f"{place(i)}: {y[i]:g} is not a class label; expected integers or text{hint}")
    classes, indices, counts = np.unique(y, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise DataError(f"every example is of class {_show(classes[0])}; expected two classes or more")
    if counts.min() < 2:
        label = _show(classes[np.argmin(counts)])
        raise DataError(f"class {label} has a single example; expected two or more, to train and to test on")
    return classes, indices


def _show(label: np.generic) -> str:
    return repr(str(label)) if isinstance(label, np.str_) else f"{label.item():.15g}"
