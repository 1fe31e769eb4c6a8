"""What a value is, in words for a message."""

from typing import Any

import jax
import numpy as np


def a_kind(value: Any) -> str:
    """The kind of a value with its article, such as "a list" or "an array of shape (3, 5)"."""
    kind = kind_of(value)
    return f"an {kind}" if kind[0] in "aeiouAEIOU" else f"a {kind}"


def kind_of(value: Any) -> str:
    """The kind of a value, such as "list" or "array of shape (3, 5)"."""
    if isinstance(value, jax.Array | np.ndarray):
        return f"array of shape {value.shape}"
    shape = getattr(value, "shape", None)
    return f"{type(value).__name__} of shape {shape}" if isinstance(shape, tuple) else type(value).__name__
