"""The programs of a cell: the gradients of the suite `gradients`, run as they are, or lowered and compiled anew."""

import functools
import gc
import time
from collections.abc import Callable
from typing import Any

import jax

import manual_bp as bp
from benchmarks.gradients import programs as gradients
from benchmarks.problem import Program, draw, gradient_by_autodiff
from benchmarks.records import rounded
from reference import autodiff

PARTS = ("compile", "run")


class Compilation:
    """A function as a program whose call lowers and compiles it, as if for the first time.

    `jax.clear_caches` drops every trace, lowering and executable that JAX keeps, also those of `bp.value_and_grad`,
    which gives the same function for the same network. What a process does only once, as importing is, is done by then.
    """

    def __init__(self, make: Callable[[], Any], args: tuple) -> None:
        self.make, self.args = make, args  # make() is a function of jax.jit
        self.lower_times: list[float] = []
        self.compiled: Any = None

    @functools.cached_property
    def preparation(self) -> dict[str, Any]:
        """Nothing: all of it is in the calls."""
        return {}

    def ready(self) -> None:
        """Also collects what earlier calls left, which would otherwise be done within one."""
        self.compiled = None
        jax.clear_caches()
        gc.collect()

    def __call__(self) -> None:
        start = time.perf_counter()
        lowered = self.make().lower(*self.args)
        self.lower_times.append(time.perf_counter() - start)
        self.compiled = lowered.compile()

    def rest(self) -> None:
        """There is nothing to wait for."""

    def result(self) -> Any:
        """What the compiled program gives."""
        self.ready()
        self()
        return self.compiled(*self.args)


def compilations(sizes: tuple[int, ...], batch_size: int, dtype: str) -> dict[str, Compilation]:
    """The four programs of `gradients.always`, to be compiled."""
    network, model, params, X, Y = draw(sizes, batch_size, dtype)

    def columns() -> Any:
        return gradient_by_autodiff(autodiff.cost, model)

    return {
        "manual": Compilation(lambda: bp.value_and_grad(network), (params, X, Y)),
        "autodiff": Compilation(columns, (params, X, Y)),
        "autodiff_rows": Compilation(lambda: gradient_by_autodiff(autodiff.cost_of_rows, model), (params, X.T, Y)),
        "control": Compilation(columns, (params, X, Y)),
    }


def programs(part: str, sizes: tuple[int, ...], batch_size: int, dtype: str) -> dict[str, Any]:
    if part == "compile":
        return compilations(sizes, batch_size, dtype)
    return gradients.always(draw(sizes, batch_size, dtype))


def of_calls(program: Compilation | Program, rounds: int) -> dict[str, Any]:
    """What a row tells of the calls that were timed, the last ones: how long each lowered."""
    if isinstance(program, Program):
        return {}
    return {"lower_times_s": rounded(program.lower_times[-rounds:])}
