"""Checks of options: numbers, keys and dtypes. A number is checked where it is known, not where JAX traces it."""

import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import dtypes
from jax.core import Tracer

from manual_bp._kind import a_kind

DTYPES = ("float32", "float64", "bfloat16")


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
    """A number above 0 and at most 1."""
    if _is_known(name, value) and not 0 < float(value) <= 1:
        raise ValueError(f"{name} is {_shown(value)}; expected a number above 0 and at most 1")
    return value


def count(name: str, value: Any, otherwise: str = "") -> int:
    """An integer, 1 or more; `otherwise` names other values that the message allows."""
    try:
        if isinstance(value, bool | np.bool_):
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
        raise ValueError(f"max_norm has length {len(value)}; expected a number, or {L}, one for each layer")
    return tuple(positive(f"max_norm of layer {l}", C) for l, C in enumerate(value, start=1))


def known(name: str, value: Any) -> float:
    """A number that JAX does not trace, as a Python float."""
    if isinstance(value, Tracer):
        raise TypeError(f"{name} is traced by JAX; expected a number that is known when the function is made")
    return float(value)


def key(value: Any) -> None:
    """Refuse anything but a random key, new style or old."""
    dtype = getattr(value, "dtype", None)
    if dtype is None or not (jnp.issubdtype(dtype, dtypes.prng_key) or dtype == jnp.uint32):
        n = value if isinstance(value, int) and not isinstance(value, bool) else 0
        raise TypeError(f"key is {_shown(value)}; expected a random key: pass jax.random.key({n})")


def dtype(value: jax.typing.DTypeLike, name: str = "dtype") -> str:
    """The name of a dtype that parameters may have, which JAX does not narrow."""
    try:
        # float alone is JAX's default
        asked = jax.dtypes.canonicalize_dtype(value) if value is float else jnp.dtype(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}; expected {', '.join(DTYPES)}") from None
    if asked.name not in DTYPES:
        raise TypeError(f"{name} is {asked.name}; expected {', '.join(DTYPES)}")
    if jax.dtypes.canonicalize_dtype(asked) != asked:
        raise ValueError(
            f"{name} is {asked.name}, and JAX would make it float32: turn on 64 bits with "
            f'jax.config.update("jax_enable_x64", True), or pass {name}="float32"'
        )
    return asked.name


def _is_known(name: str, value: Any) -> bool:
    if isinstance(value, Tracer) and value.ndim == 0:
        return False
    if isinstance(value, bool | str) or getattr(value, "ndim", 0) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} is {_shown(value)}; expected a number")
    return True


def _shown(value: Any) -> str:
    if getattr(value, "shape", None) == () and not isinstance(value, Tracer):
        return str(value)
    return repr(value) if isinstance(value, str | int | float | None) else a_kind(value)
