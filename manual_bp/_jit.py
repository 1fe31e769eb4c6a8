"""Compiled functions that keep their signature, and name an argument that JAX cannot read."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar, overload

import jax
import numpy as np

from manual_bp._kind import a_kind

P = ParamSpec("P")
R = TypeVar("R", covariant=True)

# What jax.jit's result has besides being called
COMPILED = ("lower", "trace", "eval_shape", "clear_cache", "_cache_size")


class Compiled(Protocol[P, R]):
    """A function compiled by JAX at its first call for each kind of argument."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...

    def lower(self, *args: P.args, **kwargs: P.kwargs) -> jax.stages.Lowered: ...


@overload
def jit(function: Callable[P, R]) -> Compiled[P, R]: ...
@overload
def jit(**options: Any) -> Callable[[Callable[P, R]], Compiled[P, R]]: ...
def jit(function: Callable | None = None, **options: Any) -> Any:
    """`jax.jit`, whose result is an ordinary function with the signature and documentation of `function`."""
    if function is None:
        return functools.partial(jit, **options)
    # Python's text on a missing argument then has the name that users know
    function.__qualname__ = function.__name__
    compiled = jax.jit(function, **options)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return compiled(*args, **kwargs)
        except TypeError:
            _refuse_unreadable(function, args, kwargs)
            raise

    for name in COMPILED:
        setattr(call, name, getattr(compiled, name))
    return call


def _refuse_unreadable(function: Callable, args: tuple, kwargs: dict[str, Any]) -> None:
    """Raise for the first argument that holds anything but numbers, in place of JAX's text on abstract arrays."""
    try:
        given = inspect.signature(function).bind_partial(*args, **kwargs).arguments
    except TypeError:  # too many arguments, of which Python has the better text
        return
    for name, value in given.items():
        for path, leaf in jax.tree_util.tree_flatten_with_path(value)[0]:
            if problem := unreadable(leaf):
                raise TypeError(f"{name}{jax.tree_util.keystr(path)} is {problem}") from None


def unreadable(value: Any, expected: str = "an array of numbers, from NumPy or JAX") -> str | None:
    """A value that is no array of numbers in words, with what to pass instead; None if it is one."""
    if isinstance(value, jax.Array | bool | int | float | complex):
        return None
    if isinstance(value, np.ndarray | np.generic):
        # objects, texts, dates and records, which NumPy has and JAX has not
        if value.dtype.kind not in "OSUMm" and value.dtype.type is not np.void:
            return None
        return f"an array of dtype {value.dtype}; expected {expected}"
    if hasattr(value, "to_numpy"):
        return f"{a_kind(value)}; expected {expected}: pass its .to_numpy()"
    if hasattr(value, "toarray"):
        return f"{a_kind(value)}, which is sparse; expected {expected}: pass its .toarray()"
    return None if hasattr(value, "dtype") else f"{a_kind(value)}; expected {expected}"
