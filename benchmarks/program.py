"""The programs that are timed, and the numbers they compute with."""

import dataclasses
import functools
import gc
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

import manual_bp as bp
from benchmarks.plans import COSTS
from reference import autodiff


class Problem(NamedTuple):
    """A network, for manual_bp and for autodiff, its parameters, and a batch of examples in columns."""

    network: bp.Network
    model: autodiff.Model
    params: tuple[bp.Layer, ...]
    X: jax.Array
    Y: jax.Array

    @property
    def args(self) -> tuple[Any, ...]:
        """The arguments of a gradient."""
        return self.params, self.X, self.Y


def random_problem(
    sizes: tuple[int, ...], batch_size: int, dtype: str, hidden: str = "relu", output: str = "softmax"
) -> Problem:
    """Random parameters and examples, the same each time."""
    rng, cost = np.random.default_rng(0), COSTS[output]
    network = bp.Network(sizes, hidden, output, cost)
    return Problem(
        network,
        autodiff.Model(sizes, hidden, output, cost),
        bp.init(network, jax.random.key(0), jnp.dtype(dtype)),
        # in [0, 1), as pixels are: see `gradients.command.BOUNDS`
        jnp.asarray(rng.random((sizes[0], batch_size), np.float32), dtype),
        jnp.asarray(rng.integers(sizes[-1], size=batch_size), jnp.int32)
        if output == "softmax"
        else jnp.asarray(rng.random((sizes[-1], batch_size), np.float32), dtype),
    )


class Program(Protocol):
    """One of the programs of a cell. Calls are timed; `ready` runs before each call and `rest` after it, untimed.

    `preparation` holds what a row records of the time before the calls. If it has an entry "not_run", the reason, the
    program is not called. `result` is compared with the results of the cell's other programs.
    """

    preparation: functools.cached_property[dict[str, Any]]

    def ready(self) -> None: ...
    def __call__(self) -> Any: ...
    def rest(self) -> None: ...
    def result(self) -> Any: ...


@dataclasses.dataclass(frozen=True, eq=False)
class Compiled:
    """The program that calls a function of `jax.jit` with given arguments."""

    function: Any
    args: tuple

    def ready(self) -> None:
        """Do nothing."""

    def __call__(self) -> Any:
        return self.function(*self.args)

    def rest(self) -> None:
        """Do nothing."""

    def result(self) -> Any:
        return self()

    @functools.cached_property
    def preparation(self) -> dict[str, Any]:
        """Times of lowering and of compiling, and the memory needed in addition to arguments and results."""
        gc.collect()  # otherwise Python might collect earlier programs while this one is timed
        start = time.perf_counter()
        lowered = self.function.lower(*self.args)
        middle = time.perf_counter()
        compiled = lowered.compile()
        stop = time.perf_counter()
        memory = compiled.memory_analysis()
        return {
            "lower_s": round(middle - start, 6),
            "compile_s": round(stop - middle, 6),
            "temp_bytes": memory.temp_size_in_bytes if memory else None,
        }


def first_call(
    call: Callable[[], Any], library: str | None = None, may_fail: tuple[type[Exception], ...] = ()
) -> tuple[dict[str, Any], Any]:
    """Make the first call, which compiles: what a row records of it, and the result.

    An error in `may_fail` means that the program cannot run here; the record then has "not_run" and the result is None.
    """
    record = {} if library is None else {"library": library}
    start = time.perf_counter()
    try:
        result = jax.block_until_ready(call())
    except may_fail as error:
        return record | {"not_run": f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"}, None
    return record | {"first_s": round(time.perf_counter() - start, 6)}, result


def autodiff_gradient(cost: Callable[..., jax.Array], model: autodiff.Model) -> Callable[..., Any]:
    """(params, X, Y) -> (cost, gradient), a new function each time, so that no two share a compiled program."""
    return jax.jit(jax.value_and_grad(lambda params, X, Y: cost(model, params, X, Y)))
