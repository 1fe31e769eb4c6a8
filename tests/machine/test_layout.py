"""A pass whose hidden layers hold examples in rows: the same derivatives, and where it is taken."""

import functools
import importlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cpu_mesh import cpu_mesh
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from planted import NAME
from problems import BY_NAME, CLASSES, DEEP, FLOAT64, arrays, by_autodiff, float_arguments

import manual_bp as bp
from manual_bp._machine import layout
from reference.autodiff import Model
from reference.compare import largest_error

SEVERAL = ["two layers, soft binary", "softmax under absolute error", "many neurons, squared error"]


@pytest.fixture
def in_rows(monkeypatch):
    monkeypatch.setattr(layout, "of_pass", lambda *args: layout.Layout(True))


def derivatives(bp, problem, weights):
    """Cost and derivatives by a program that is traced anew."""
    _, params, X, Y, _ = arrays(problem)
    network, params = bp.Network(*problem.model), tuple(bp.Layer(*layer) for layer in params)
    cost = jax.value_and_grad(functools.partial(bp.cost, network), argnums=float_arguments(problem))
    c, found = jax.jit(lambda *args: cost(*args))(params, X, Y, weights)
    return jax.tree.leaves((c, found))


@pytest.mark.parametrize(
    "problem",
    [DEEP, *map(BY_NAME.get, SEVERAL)],
    ids=lambda problem: problem.name,
)
def test_the_derivatives_of_autodiff(problem, in_rows):
    *args, weights = arrays(problem)[1:]
    expected = by_autodiff(problem.model, *args, weights, argnums=float_arguments(problem))
    assert largest_error(derivatives(bp, problem, weights), jax.tree.leaves(expected)) <= FLOAT64


def test_an_absent_example_reaches_nothing(in_rows):
    network, params, X, Y, weights = arrays(CLASSES)
    weights = weights.at[2].set(0)
    held = X.at[:, 2].set(jnp.nan)
    gradient = jax.value_and_grad(functools.partial(bp.cost, network))
    found = jax.jit(lambda *args: gradient(*args))(params, held, Y, weights)
    assert largest_error(found, by_autodiff(CLASSES.model, params, X, Y, weights)) <= FLOAT64


# sizes, m, whether X lies in rows -> rows
CHOICES = [
    ((784, 512, 512, 10), 294, False, True),  # 534,492 activations, twice 267,264 weights from the second layer on
    ((784, 512, 512, 10), 295, False, False),
    ((784, 512, 512, 10), 295, True, True),
    ((784, 512, 512, 10), 1, True, False),
    ((16, 28, 30, 10), 27, False, True),
    ((16, 28, 30, 10), 28, False, False),
    ((16, 28, 30, 10), 33, True, True),
    ((16, 28, 30, 10), 34, True, False),
    ((784, 128, 10), 31, False, True),  # 128 units, more than four times as many
    ((784, 128, 10), 32, False, False),
    ((784, 10), 2, True, False),
]


@pytest.mark.parametrize(("sizes", "m", "X_in_rows", "expected"), CHOICES)
def test_the_rule(sizes, m, X_in_rows, expected):
    assert layout.of_pass(sizes, jnp.zeros((sizes[0], m)), X_in_rows).in_rows is expected


def test_columns_on_a_mesh():
    mesh, seen = cpu_mesh((2,), ("data",)), []
    X = jax.device_put(jnp.zeros((784, 50)), NamedSharding(mesh, P(None, "data")))
    jax.jit(lambda X: seen.append(layout.of_pass((784, 512, 512, 10), X)))(X)
    assert seen == [layout.Layout(False)]


def test_ensembles_and_epochs_take_rows():
    """Training from rows, under `vmap` too, is that of single steps over columns."""
    network, optimizer = bp.Network((4, 40, 39, 3), "tanh"), optax.sgd(0.1)
    X, Y = np.random.default_rng(0).normal(size=(4, 6)), np.arange(6) % 3
    assert layout.of_pass(network.sizes, jnp.asarray(X), True).in_rows
    states = jax.vmap(lambda key: bp.train_state(network, optimizer, key, dtype=float))(
        jax.random.split(jax.random.key(0), 2)
    )
    epoch = bp.train_epoch(network, optimizer, batch_size=6, shuffle=False)
    found, _ = jax.vmap(epoch, in_axes=(0, None))(states, bp.Dataset.from_columns(X, Y))
    one = jax.tree.map(lambda x: x[1], states)
    _, grads = by_autodiff(Model((4, 40, 39, 3), "tanh"), one.params, jnp.asarray(X), jnp.asarray(Y))
    expected = jax.tree.map(lambda p, d: p - 0.1 * d, one.params, grads)
    assert largest_error(jax.tree.map(lambda x: x[1], found.params), expected) <= FLOAT64


MISTAKES = {
    "the bias not transposed": ("layout", "b=layer.b.T", "b=layer.b.T[:, ::-1]"),
    "the last layer's bias transposed": ("layout", "last._replace(W=", "last._replace(b=last.b[::-1], W="),
    "the inputs in another order": ("layout", "return turned(X) if", "return turned(X)[::-1] if"),
    "the examples in another order": ("layout", "not self.in_rows else x.T", "not self.in_rows else x[::-1].T"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_shows(name, plant):
    module, *change = MISTAKES[name]
    plant(f"_machine/{module}", *change)
    mistaken = importlib.import_module(NAME)
    planted: Any = importlib.import_module(f"{NAME}._machine.layout")
    planted.of_pass = lambda *args: planted.Layout(True)
    *args, weights = arrays(CLASSES)[1:]
    expected = by_autodiff(CLASSES.model, *args, weights, argnums=float_arguments(CLASSES))
    assert largest_error(derivatives(mistaken, CLASSES, weights), jax.tree.leaves(expected)) > 1e-3
