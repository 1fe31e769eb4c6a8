"""What a file of examples holds, before anything is made of it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from manual_bp._command.errors import InputError


@dataclasses.dataclass(frozen=True)
class Table:
    """Examples as they stand in a file.

    Attributes:
        X: features, shape (examples, features), float64.
        y: targets, shape (examples,), those of a .csv as text; None if they were not asked for.
        features: the names of the features; None in an .npz, which has none.
        target: the name of the targets' column; None in an .npz.
        place: where X[i, j] stands, for a message.
        target_place: where y[i] stands.
    """

    X: np.ndarray
    y: np.ndarray | None
    features: list[str] | None
    target: str | None
    place: Callable[[int, int], str]
    target_place: Callable[[int], str]


def number(field: str) -> float:
    """The number that a text is."""
    # float() alone reads 1_000 as a thousand, which no other reader of .csv does
    if "_" in field:
        raise ValueError(field)
    return float(field)


def is_number(field: str) -> bool:
    try:
        number(field)
    except ValueError:
        return False
    return True


def finite(values: np.ndarray, place: Callable[..., str]) -> None:
    """Refuses a number that is not finite. Training is in float32: one beyond it is as good as infinite."""
    bad = np.argwhere(~(np.abs(values) <= np.finfo(np.float32).max))
    if len(bad):
        at = tuple(bad[0].tolist())
        raise InputError(f"{place(*at)}: {values[at]:g} is not a finite float32 number")


def some(names: Sequence[Any]) -> str:
    """The first few names, for a message of one line."""
    return ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")
