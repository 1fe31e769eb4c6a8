"""Checks of numbers that options are: their values where they are known, not where JAX traces them."""

import math
import operator
from typing import Any

import jax.numpy as jnp
from jax import dtypes
from jax.core import Tracer


def positive(name: str, value: Any) -> Any:
    """A finite number above 0."""
    if _is_known(name, value) and not 0 < float(value) < math.inf:
        raise ValueError(f"{name} is {_shown(value)}; expected a finite number above 0")
    return value


def non_negative(name: str, value: Any) -> Any:
    """A finite number, 0 or above."""
    if _is_known(name, value) and not 0 <= float(value) < math.inf:
        raise ValueError(f"{name} is {_shown(value)}; expected a finite number, 0 or above")
    return value


def probability(name: str, value: Any) -> Any:
    """A number above 0, and 1 at most."""
    if _is_known(name, value) and not 0 < float(value) <= 1:
        raise ValueError(f"{name} is {_shown(value)}; expected a number above 0 and at most 1")
    return value


def count(name: str, value: Any, otherwise: str = "") -> int:
    """An integer, 1 or more; `otherwise` tells what else it may be."""
    try:
        if isinstance(value, bool):
            raise TypeError
        n = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {_shown(value)}; expected an integer, 1 or more{otherwise}") from None
    if n < 1:
        raise ValueError(f"{name} is {n}; expected 1 or more{otherwise}")
    return n


def max_norm(value: Any, L: int) -> Any:
    """C, or a tuple of C[1] to C[L]."""
    if not (isinstance(value, list | tuple) or getattr(value, "ndim", 0) == 1):
        return positive("max_norm", value)
    if len(value) != L:
        raise ValueError(f"max_norm has {len(value)} numbers; expected one, or {L}, one for each layer")
    return tuple(positive(f"max_norm of layer {l}", C) for l, C in enumerate(value, start=1))


def known(name: str, value: Any) -> float:
    """A number that JAX does not trace, as a Python float."""
    if isinstance(value, Tracer):
        raise TypeError(f"{name} is traced by JAX; expected a number that is known when the function is made")
    return float(value)


def key(value: Any) -> None:
    """A random key, new style or old."""
    dtype = getattr(value, "dtype", None)
    if dtype is None or not (jnp.issubdtype(dtype, dtypes.prng_key) or dtype == jnp.uint32):
        number = value if isinstance(value, int) and not isinstance(value, bool) else 0
        raise TypeError(f"key is {_shown(value)}; expected a random key: pass jax.random.key({number})")


def _is_known(name: str, value: Any) -> bool:
    if isinstance(value, Tracer) and value.ndim == 0:
        return False
    if isinstance(value, bool | str) or getattr(value, "ndim", 0) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} is {_shown(value)}; expected a number")
    return True


def _shown(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array of shape {value.shape}" if value.shape or isinstance(value, Tracer) else str(value)
    return repr(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
