"""Networks and data that many tests share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import manual_bp as bp
from reference import autodiff
from reference.autodiff import Model
from reference.grid import PROBLEMS, Data, Problem, draw

FLOAT64 = 1e-12

BY_NAME = {problem.name: problem for problem in PROBLEMS}
DEEP = BY_NAME["an activation for each layer"]
REGRESSION = BY_NAME["many neurons, squared error"]
CLASSES = Problem("two layers, classes", Model((4, 5, 3), "tanh"), 7, "indices")


def if_deep(*case):
    """A case that only `make test-deep` takes."""
    return pytest.param(*case, marks=pytest.mark.deep)


def arrays(problem: Problem, seed: int = 0, dtype=jnp.float64):
    """(network, params, X, Y, weights) of a problem of the grid."""
    data = draw(problem, seed)
    Y = jnp.asarray(data.Y) if problem.targets == "indices" else jnp.asarray(data.Y, dtype)
    return (
        bp.Network(*problem.model),
        layers(data.params, dtype),
        jnp.asarray(data.X, dtype),
        Y,
        jnp.asarray(data.weights, dtype),
    )


def float_arguments(problem: Problem) -> tuple[int, ...]:
    """The argnums by which there is a derivative: one program for the tests that take some of them."""
    return (0, 1, 3) if problem.targets == "indices" else (0, 1, 2, 3)


def by_grad(network: bp.Network, *args, argnums: int | tuple[int, ...] = 0):
    """(cost, derivatives) by the rule of `bp.cost`; argnums counts params, X, Y, weights."""
    return _value_and_grad(bp.cost, network, argnums)(*args)


def by_autodiff(model: Model, *args, argnums: int | tuple[int, ...] = 0):
    """(cost, derivatives) of the reference; argnums counts params, X, Y, weights."""
    return _value_and_grad(autodiff.cost, model, argnums)(*args)


@functools.cache
def _value_and_grad(cost, network, argnums):
    return jax.jit(jax.value_and_grad(functools.partial(cost, network), argnums=argnums))


@functools.partial(jax.jit, static_argnums=0)
def every_way(network: bp.Network, params, X, Y, weights=None) -> tuple[dict, bp.Record]:
    """(cost, gradient) by each entry point, and the record, in one program: compiling is most of a test."""
    record = bp.backpropagate(network, params, X, Y, weights)
    ways = {
        "value_and_grad": bp.value_and_grad(network)(params, X, Y, weights),
        "cost": jax.value_and_grad(bp.cost, argnums=1)(network, params, X, Y, weights),
        "record": (record.cost, bp.gradients(record)),
    }
    return ways, record


def layers(params, dtype=jnp.float64):
    return tuple(bp.Layer(jnp.asarray(W, dtype), jnp.asarray(b, dtype)) for W, b in params)


def columns(problem: Problem, data: Data) -> np.ndarray:
    """The targets of a draw as columns, class indices made one-hot."""
    return np.eye(problem.model.sizes[-1])[:, data.Y] if problem.targets == "indices" else data.Y


def random_network(model: Model, m: int):
    """(network, params, X) for a model."""
    data = draw(Problem("", model, m, "real"), 0)
    return bp.Network(*model), layers(data.params), jnp.asarray(data.X)
