"""What is measured on: networks, the numbers that go through them, and compiled programs of those."""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

import manual_bp as bp
from reference import autodiff

# ReLU in the hidden layers, softmax and cross-entropy at the output, class indices as targets
NETWORKS = {
    "784-128-10": (784, 128, 10),
    "784-512-512-10": (784, 512, 512, 10),
    "5x64": (64, 64, 64, 64, 64, 10),
    "1024-1024-1024-1024": (1024, 1024, 1024, 1024),
}


def equal_widths(layers: int, width: int) -> tuple[str, tuple[int, ...]]:
    """The name and sizes of a network like 5x64: inputs and hidden layers of one width, 10 outputs."""
    return f"{layers}x{width}", (width,) * layers + (10,)


class Problem(NamedTuple):
    """A network, as manual_bp and as autodiff have it, its parameters, and a batch of examples in columns."""

    network: bp.Network
    model: autodiff.Model
    params: tuple[bp.Layer, ...]
    X: jax.Array
    Y: jax.Array


def draw(sizes: tuple[int, ...], batch_size: int, dtype: str) -> Problem:
    """The same numbers each time."""
    rng = np.random.default_rng(0)
    network = bp.Network(sizes)
    return Problem(
        network,
        autodiff.Model(sizes, "relu", "softmax", "cross_entropy"),
        bp.init(network, jax.random.key(0), jnp.dtype(dtype)),
        # like pixels, in [0, 1): see `gradients.command.BOUNDS`
        jnp.asarray(rng.random((sizes[0], batch_size), np.float32), dtype),
        jnp.asarray(rng.integers(sizes[-1], size=batch_size), jnp.int32),
    )


class Measured(Protocol):
    """What a suite measures: the call is timed; `ready` comes before it and `rest` after it.

    `preparation` is what a row tells of the time before the calls; with "not_run" in it, why there are none. `result`
    is compared with that of other programs.
    """

    preparation: functools.cached_property[dict[str, Any]]

    def ready(self) -> None: ...
    def __call__(self) -> Any: ...
    def rest(self) -> None: ...
    def result(self) -> Any: ...


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """A compiled function and what it is called with."""

    function: Any  # of jax.jit
    args: tuple

    def ready(self) -> None:
        """There is nothing to make ready."""

    def __call__(self) -> Any:
        return self.function(*self.args)

    def rest(self) -> None:
        """There is nothing to wait for."""

    def result(self) -> Any:
        return self()

    @functools.cached_property
    def preparation(self) -> dict[str, Any]:
        """Lowering and compiling, each timed, and the memory needed beside arguments and results."""
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


def gradient_by_autodiff(cost: Callable[..., jax.Array], model: autodiff.Model) -> Callable[..., Any]:
    """(params, X, Y) -> (cost, gradient): a new function each time, so that no two share what JAX has compiled."""
    return jax.jit(jax.value_and_grad(lambda params, X, Y: cost(model, params, X, Y)))
