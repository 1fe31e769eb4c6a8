"""The gradient in one kernel, where the device takes it."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import manual_bp as bp
from benchmarks.program import Compiled, Problem

REFUSALS = (TypeError, ValueError, RuntimeError)  # which shapes and dtypes it takes, and what fails on the device


class Fused(Compiled):
    """A program that is not run where the kernel refuses it, or where the library takes another way."""

    @functools.cached_property
    def preparation(self) -> dict[str, Any]:
        try:
            if reason := another_way(self.function, *self.args):
                return {"not_run": reason}
            return super().preparation
        except REFUSALS as error:
            return {"not_run": words(error)}


def gradient(problem: Problem) -> Compiled | str:
    """`bp.value_and_grad` by the kernel, or the reason why there is none."""
    try:
        return Fused(with_kernel(bp.value_and_grad)(problem.network), problem.args)
    except REFUSALS as error:
        return words(error)


def with_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    return functools.partial(function, kernel="fused")


def another_way(function: Any, *args: Any) -> str | None:
    """The reason why a compiled function would not run the kernel; None if it calls it."""
    with warnings.catch_warnings(action="ignore"):  # of the way that it takes instead
        calls_kernel = "custom_call" in function.lower(*args).as_text()
    return None if calls_kernel else "the library would not run the fused kernel here"


def words(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
