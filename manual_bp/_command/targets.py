"""Targets as a file has them, made classes or values."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from manual_bp._command.errors import InputError
from manual_bp._command.table import finite, is_number, number, some

# Where in the file the target of example i stands
Place = Callable[[int], str]


def classes(y: np.ndarray, place: Place) -> tuple[np.ndarray, np.ndarray]:
    """The sorted labels and each example's index among them."""
    if y.dtype.kind == "U" and all(map(is_number, y.tolist())):
        y = np.array([number(label) for label in y.tolist()])
    if y.dtype.kind not in "biufU":
        raise InputError(f"y has dtype {y.dtype}; expected class labels, integers or text")
    if y.dtype.kind == "U" and (y == "").any():
        raise InputError(f"{place(int(np.argmax(y == '')))}: the class label is missing")
    if y.dtype.kind == "f":
        label = np.isfinite(y) & (np.trunc(y) == y)
        if not label.all():
            i = int(np.argmin(label))
            hint = " (a continuous target: give --regression)" if np.isfinite(y[i]) else ""
            raise InputError(f"{place(i)}: {y[i]:g} is not a class label; expected integers or text{hint}")
    labels, indices, counts = np.unique(y, return_inverse=True, return_counts=True)
    if len(labels) < 2:
        raise InputError(f"every example is of class {show(labels[0].item())}; expected two classes or more")
    if counts.min() < 2:
        label = show(labels[np.argmin(counts)].item())
        raise InputError(f"class {label} has a single example; expected two or more, to train and to test on")
    return labels, indices


def among(y: np.ndarray, known: Sequence[Any], place: Place) -> np.ndarray:
    """Each example's index among the classes of a model."""
    index = {label: i for i, label in enumerate(known)}
    numbers = not isinstance(known[0], str)
    labels = [
        number(label) if numbers and isinstance(label, str) and is_number(label) else label for label in y.tolist()
    ]
    for i, label in enumerate(labels):
        if label not in index:
            raise InputError(f"{place(i)}: {show(label)} is not a class of the model; expected {some(known)}")
    return np.array([index[label] for label in labels], np.int32)


def values(y: np.ndarray, place: Place) -> np.ndarray:
    """Finite numbers."""
    if y.dtype.kind == "U":
        for i, field in enumerate(y.tolist()):
            if not is_number(field):
                raise InputError(f"{place(i)}: {field[:40]!r} is not a number; expected numbers, for --regression")
        y = np.array([number(field) for field in y.tolist()])
    if y.dtype.kind not in "biuf":
        raise InputError(f"y has dtype {y.dtype}; expected numbers")
    finite(y, place)
    return y.astype(np.float64)


def show(label: Any) -> str:
    """A label in a message."""
    return f"{label:.15g}" if isinstance(label, float) else repr(label)
