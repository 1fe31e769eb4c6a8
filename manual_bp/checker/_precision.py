"""The precision of a check: float64 or, where a function refuses that, that of the user."""

import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from manual_bp.checker._report import Report


def in_float64(check: Callable[[], Report]) -> Report:
    """Run a check with 64 bits or, where a function raises an error then, with 32 if those are what the user has.

    A function that holds an array in float32 may not take others in float64: a scan, say, wants the dtype that it
    carries.
    """
    found = _run(check, bits_64=True)
    if _refused(found) and jnp.result_type(float) == np.float32:
        again = _run(check, bits_64=False)
        found = found if _refused(again) else again
    if isinstance(found, Exception):
        raise found
    return found


def _run(check: Callable[[], Report], bits_64: bool) -> Report | Exception:
    with jax.enable_x64(bits_64), jax.default_matmul_precision("highest"), warnings.catch_warnings():
        if not bits_64:
            warnings.filterwarnings("ignore", "Explicitly requested dtype")
        try:
            return check()
        except Exception as error:
            return error


def _refused(found: Report | Exception) -> bool:
    """Return whether a function raised an error, or JAX refused its rule."""
    lines = () if isinstance(found, Exception) else found.lines
    return isinstance(found, Exception) or any(line.mistake == "raised" or line.line == "the rule" for line in lines)
