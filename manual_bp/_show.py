"""Short descriptions of arrays and layers, for `print`."""

from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from manual_bp._network import Layer

MOST_LINES = 6


def values_of(x: Any) -> np.ndarray | None:
    """The values of an array; None while JAX traces it, once it is donated, or if other processes hold a part."""
    if isinstance(x, Tracer) or isinstance(x, jax.Array) and (x.is_deleted() or not x.is_fully_addressable):
        return None
    return np.asarray(x) if isinstance(x, np.ndarray | np.generic | jax.Array) else None


def describe_array(name: str, x: Any) -> str:
    """The shape, dtype and norm of an array, as far as they are known."""
    if not hasattr(x, "shape") or not hasattr(x, "dtype"):
        return f"{name} {type(x).__name__}"
    values = values_of(x)
    norm = "" if values is None else f", norm {np.linalg.norm(values.astype(np.float64)):.4g}"
    return f"{name} {x.shape} {x.dtype}{norm}"


def layer_lines(params: Any) -> list[str]:
    """A line for each layer, those in the middle left out if there are many."""
    if not (isinstance(params, tuple) and all(isinstance(layer, Layer) for layer in params)):
        return [f"params: {type(params).__name__}"]
    lines = [
        f"layer {l}: {describe_array('W', W)}; {describe_array('b', b)}" for l, (W, b) in enumerate(params, start=1)
    ]
    if len(lines) > MOST_LINES:
        lines[MOST_LINES - 2 : -1] = [f"... {len(lines) - MOST_LINES + 1} more layers"]
    return lines
