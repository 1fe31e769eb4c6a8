"""Losses and their derivatives, one example at a time and at the edges."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import by_autodiff, if_deep, random_network

import manual_bp as bp
from manual_bp._activations import SIGMOID, SOFTMAX
from manual_bp._costs import COSTS, CROSS_ENTROPIES
from reference.autodiff import Model

COST_OF = {**COSTS, **{cost.loss.__name__: cost for cost in CROSS_ENTROPIES.values()}}


def outputs_and_targets(name: str, n: int, m: int = 5):
    ZY = np.random.default_rng(n).normal(size=(2, n, m))
    if name == "categorical_cross_entropy":
        return np.exp(ZY) / np.sum(np.exp(ZY), axis=1, keepdims=True)
    return 1 / (1 + np.exp(-ZY)) if name == "binary_cross_entropy" else ZY


@functools.partial(jax.jit, static_argnums=0)
def derivatives(cost, A, Y):
    """The loss, and its derivatives by A and Y, by hand and by autodiff."""
    return cost.loss(A, Y), (cost.dA(A, Y), cost.dY(A, Y)), _autodiff(cost.loss, A, Y)


@functools.partial(jax.jit, static_argnums=0)
def collapsed(pair, Z, Y):
    """The output, the collapsed loss, and its derivatives by Z and Y, by hand and by autodiff."""
    A = pair.output.g(Z)
    return A, pair.loss(Z, Y), (pair.dZ(Z, A, Y), pair.dY(Z, Y)), _autodiff(pair.loss, Z, Y)


@functools.partial(jax.jit, static_argnums=0)
def hessians(cost: Any, A, Y, V):
    """The Hessian applied to V, its root, and what autodiff makes of V."""
    if cost.matched:
        Z, loss = 3 * V[::-1], cost.matched.loss
        found = cost.matched.hessian(Z, cost.matched.output.g(Z), Y, V)
        S = cost.matched.hessian_root(Z, cost.matched.output.g(Z), Y)
    else:
        Z, loss, found, S = A, cost.loss, cost.hessian(A, Y, V), cost.hessian_root(A, Y)
    _, expected = jax.jvp(jax.grad(lambda Z: jnp.sum(loss(Z, Y))), (Z,), (V,))
    return found, S, expected


def _autodiff(loss, A, Y):
    return jax.grad(lambda A, Y: jnp.sum(loss(A, Y)), argnums=(0, 1))(A, Y)


@pytest.mark.parametrize("n", [1, 3, if_deep(2), if_deep(10)])
@pytest.mark.parametrize("name", list(COST_OF))
def test_derivatives_belong_to_the_loss(name, n):
    """For every number of outputs: a loss averaged over outputs and a derivative that is not would differ by n."""
    loss, (dA, dY), expected = derivatives(COST_OF[name], *outputs_and_targets(name, n))
    assert loss.shape == (5,)
    np.testing.assert_allclose(dA, expected[0], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(dY, expected[1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("n", [1, 3, if_deep(2), if_deep(10)])
@pytest.mark.parametrize("cost", [c for c in CROSS_ENTROPIES.values()], ids=repr)
def test_collapsed_form_is_the_same_loss(cost, n):
    pair, Z = cost.matched, 3 * np.random.default_rng(0).normal(size=(n, 5))
    _, Y = outputs_and_targets(repr(cost), n)
    A, loss, (dZ, dY), expected = collapsed(pair, Z, Y)
    np.testing.assert_allclose(loss, derivatives(cost, A, Y)[0], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(dZ, expected[0], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(dY, expected[1], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(dZ, A * (Y.sum(0) if n > 1 and pair.output.g_prime is None else 1) - Y, atol=1e-14)


@pytest.mark.parametrize("n", [1, 3, if_deep(2), if_deep(10)])
@pytest.mark.parametrize("name", list(COST_OF))
def test_hessian_belongs_to_the_loss(name, n):
    """Of every column, applied to a vector: of the collapsed form where there is one."""
    A, Y = outputs_and_targets(name, n)
    V = np.random.default_rng(7).normal(size=A.shape)
    found, S, expected = hessians(COST_OF[name], A, Y, V)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(np.einsum("kim,kjm,jm->im", S, S, V), expected, rtol=1e-11, atol=1e-14)


def test_hessian_of_class_indices():
    pair: Any = CROSS_ENTROPIES[SOFTMAX].matched
    Z, V = jax.random.normal(jax.random.key(0), (2, 3, 4))
    Y = jnp.array([0, 2, 1, 3])
    found, columns = (pair.hessian(Z, pair.output.g(Z), y, V) for y in (Y, jnp.eye(4)[:3, Y]))
    np.testing.assert_allclose(found[:, :3], columns[:, :3], rtol=1e-14)
    roots = (pair.hessian_root(Z, pair.output.g(Z), y)[..., :3] for y in (Y, jnp.eye(4)[:3, Y]))
    np.testing.assert_allclose(*roots, rtol=1e-14)
    assert jnp.isnan(found[:, 3]).all()  # of an index that is no class


def test_by_hand():
    """Two outputs, one example, numbers worked on paper."""
    A, Y = jnp.array([[0.25], [0.75]]), jnp.array([[1.0], [0.0]])
    assert COSTS["squared_error"].loss(A, Y).item() == 0.75**2 + 0.75**2
    assert COSTS["absolute_error"].loss(A, Y).item() == 1.5
    binary, categorical = CROSS_ENTROPIES.values()
    np.testing.assert_allclose(binary.loss(A, Y), 2 * np.log(4), rtol=1e-15)
    np.testing.assert_allclose(binary.dA(A, Y), [[-4], [4]], rtol=1e-15)
    np.testing.assert_allclose(categorical.loss(A, Y), np.log(4), rtol=1e-15)


def test_absolute_error_is_flat_at_a_tie():
    A = jnp.array([[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(COSTS["absolute_error"].dA(A, jnp.full((1, 3), 2.0)), [[-1, 0, 1]])


LOGITS = np.array([[1e4, -1e4, 1e4, -1e4, 30.0, -30.0, 0.0], [-1e4, 1e4, 1e4, -1e4, -30.0, 30.0, 0.0]])
TARGETS = np.array([[0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0], [1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
def test_saturated_logits(output, dtype):
    """W = I, b = 0, so X is Z: logits of 10,000 either way against targets of exactly 0 and 1."""
    model = Model((2, 2), output=output)
    params = (bp.Layer(jnp.eye(2, dtype=dtype), jnp.zeros((2, 1), dtype)),)
    X, Y = jnp.asarray(LOGITS, dtype), jnp.asarray(TARGETS, dtype)
    c, grads = bp.value_and_grad(bp.Network(*model))(params, X, Y)
    expected, expected_grads = by_autodiff(model, params, X, Y)
    eps = np.finfo(dtype).eps
    assert np.isfinite(c)
    np.testing.assert_allclose(c, expected, rtol=4 * eps)
    for d, e in zip(jax.tree.leaves(grads), jax.tree.leaves(expected_grads), strict=True):
        assert np.isfinite(d).all()
        np.testing.assert_allclose(d, e, rtol=4 * eps, atol=4 * eps * np.abs(e).max())


def test_small_derivatives_survive_saturation():
    """A rounds to Y in float32; A - Y would be 0, the derivative is exp(-20)."""
    Z, Y = jnp.full((1, 1), 20, jnp.float32), jnp.ones((1, 1), jnp.float32)
    pair = CROSS_ENTROPIES[SIGMOID].matched
    assert pair is not None
    np.testing.assert_allclose(pair.dZ(Z, jax.nn.sigmoid(Z), Y), -np.exp(-20.0), rtol=1e-6)


@pytest.mark.parametrize("Y", [[0, 3, 1], [0, -1, 1]])
def test_class_index_out_of_range_is_nan(Y):
    network, params, X = random_network(Model((2, 3)), 3)
    record = bp.backpropagate(network, params, X, jnp.array(Y))
    np.testing.assert_array_equal(np.isnan(record.losses), [False, True, False])
    c, grads = bp.value_and_grad(network)(params, X, jnp.array(Y))
    assert np.isnan(c)
    assert all(np.isnan(d).all() for d in jax.tree.leaves(grads))


def test_class_indices_are_one_hot_columns():
    network, params, X = random_network(Model((4, 3)), 6)
    Y = jnp.array([0, 2, 1, 1, 0, 2])
    records = (bp.backpropagate(network, params, X, y) for y in (Y, jax.nn.one_hot(Y, 3, axis=0)))
    by_index, by_column = (dataclasses.replace(record, Y=None) for record in records)
    for a, b in zip(jax.tree.leaves(by_index), jax.tree.leaves(by_column), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14, atol=1e-15)
