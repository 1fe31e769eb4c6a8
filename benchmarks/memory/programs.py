"""The programs of a cell, by part, and what each needs as its compiler says; nothing is run.

Temporary memory is what a call takes beside its arguments and its results: the most that is held at one time.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import manual_bp as bp
from benchmarks.problem import gradient_by_autodiff
from reference import autodiff
from reference.autodiff import Model

OPTIMIZER = optax.adam(1e-3)


class Shapes(NamedTuple):
    """What a problem consists of, as shapes and dtypes."""

    network: bp.Network
    model: Model
    params: Any
    X: jax.ShapeDtypeStruct
    rows: jax.ShapeDtypeStruct  # the examples of X in rows
    Y: jax.ShapeDtypeStruct


def shapes(sizes: tuple[int, ...], batch_size: int, dtype: str) -> Shapes:
    network = bp.Network(sizes)
    params = jax.eval_shape(lambda: bp.init(network, jax.random.key(0), jnp.dtype(dtype)))
    X, rows = (jax.ShapeDtypeStruct(shape, dtype) for shape in ((sizes[0], batch_size), (batch_size, sizes[0])))
    Y = jax.ShapeDtypeStruct((batch_size,), jnp.int32)
    return Shapes(network, Model(sizes, "relu", "softmax", "cross_entropy"), params, X, rows, Y)


def gradients(of: Shapes) -> dict[str, tuple[Any, tuple]]:
    """By program: a function of jax.jit that gives cost and gradient, and its arguments."""
    return {
        "manual": (bp.value_and_grad(of.network), (of.params, of.X, of.Y)),
        "autodiff": (gradient_by_autodiff(autodiff.cost, of.model), (of.params, of.X, of.Y)),
        "autodiff_rows": (gradient_by_autodiff(autodiff.cost_of_rows, of.model), (of.params, of.rows, of.Y)),
    }


def steps(of: Shapes) -> dict[str, tuple[Any, tuple]]:
    """A step of Adam, whose state is donated: its memory becomes that of the state returned."""

    def by_autodiff(cost: Callable[..., jax.Array]) -> Any:
        gradient = jax.value_and_grad(lambda params, X, Y: cost(of.model, params, X, Y))

        def step(state: Any, X: jax.Array, Y: jax.Array) -> tuple[Any, jax.Array]:
            params, optimizer_state = state
            c, grads = gradient(params, X, Y)
            updates, optimizer_state = OPTIMIZER.update(grads, optimizer_state)
            return (optax.apply_updates(params, updates), optimizer_state), c

        return jax.jit(step, donate_argnums=0)

    dtype = of.X.dtype
    state = jax.eval_shape(lambda: bp.train_state(of.network, OPTIMIZER, jax.random.key(0), dtype=dtype))
    pair = state.params, state.optimizer_state
    return {
        "manual": (bp.train_step(of.network, OPTIMIZER), (state, of.X, of.Y)),
        "autodiff": (by_autodiff(autodiff.cost), (pair, of.X, of.Y)),
        "autodiff_rows": (by_autodiff(autodiff.cost_of_rows), (pair, of.rows, of.Y)),
    }


PARTS = {"gradient": gradients, "step": steps, "many_classes": gradients}


def needed(part: str, sizes: tuple[int, ...], batch_size: int, dtype: str) -> dict[str, dict[str, int | None]]:
    """By program: bytes of temporary memory, arguments and results; null where the compiler does not say."""
    found = {}
    for name, (function, args) in PARTS[part](shapes(sizes, batch_size, dtype)).items():
        memory = function.lower(*args).compile().memory_analysis()
        found[name] = {
            f"{kind}_bytes": getattr(memory, f"{of}_size_in_bytes", None)
            for kind, of in (("temp", "temp"), ("argument", "argument"), ("result", "output"))
        }
    return found
