"""Products with the Hessian and with its Gauss-Newton part, diagonals and Kronecker factors."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from problems import BY_NAME, DEEP, REGRESSION, arrays, layers, random_network

import manual_bp as bp
from reference import autodiff, curvature
from reference.autodiff import Model
from reference.compare import largest_error

FLOAT64 = 1e-11
SMALL = [
    BY_NAME[name]
    for name in (
        "two layers, multilabel",
        "width 1",
        "softmax under squared error",
        "softmax under absolute error",
    )
]


def whole(product, params):
    """The matrix of a linear map of trees like the parameters: all unit vectors at once."""
    flat, unravel = ravel_pytree(params)
    units = jax.vmap(unravel)(jnp.eye(flat.size))
    return jax.vmap(lambda V: ravel_pytree(V)[0])(product(units))


@pytest.mark.parametrize("problem", SMALL, ids=lambda problem: problem.name)
def test_products_are_those_of_the_whole_matrices(problem):
    network, params, X, Y, weights = arrays(problem)
    flat, unravel = ravel_pytree(params)
    record = bp.backpropagate(network, params, X, Y, weights)
    w = record.weights[0]
    expected = jax.jit(jax.hessian(lambda v: autodiff.cost(problem.model, unravel(v), X, Y, weights)))(flat)
    found = whole(functools.partial(bp.hessian_product, record), params)
    assert largest_error(found, expected) <= FLOAT64

    G = whole(functools.partial(bp.gauss_newton_product, record), params)
    expected = whole(jax.vmap(lambda V: curvature.gauss_newton_product(problem.model, params, X, Y, w, V)), params)
    assert largest_error(G, expected) <= FLOAT64
    np.testing.assert_allclose(G, G.T, atol=1e-12)
    assert np.linalg.eigvalsh(G).min() >= -1e-12 * np.linalg.norm(G, 2)
    diagonal, _ = ravel_pytree(bp.gauss_newton_diagonal(record))
    assert largest_error(diagonal, np.diag(G)) <= FLOAT64


def test_where_network_and_loss_leave_nothing_else_the_two_are_one():
    """Without g'' the Hessian is its Gauss-Newton part: one linear layer."""
    network, params, X, Y, weights = arrays(BY_NAME["linear regression"])
    record = bp.backpropagate(network, params, X, Y, weights)
    V = jax.tree.map(jnp.cos, params)
    assert largest_error(bp.hessian_product(record, V), bp.gauss_newton_product(record, V)) <= FLOAT64
    network, params, X, Y, _ = arrays(DEEP)
    record, V = bp.backpropagate(network, params, X, Y), params
    assert largest_error(bp.hessian_product(record, V), bp.gauss_newton_product(record, V)) > 0.01


def test_several_vectors_share_the_pass():
    network, params, X, Y, weights = arrays(DEEP)
    record = bp.backpropagate(network, params, X, Y, weights)
    vectors = [jax.tree.map(f, params) for f in (jnp.sin, jnp.exp, jnp.zeros_like)]
    stacked = jax.tree.map(lambda *v: jnp.stack(v), *vectors)
    for product in (bp.hessian_product, bp.gauss_newton_product):
        found = product(record, stacked)
        for i, V in enumerate(vectors):
            assert largest_error(jax.tree.map(lambda x, i=i: x[i], found), product(record, V)) <= FLOAT64
    with pytest.raises(
        ValueError, match="arrays of V hold 2 stacked and 3 stacked; expected the same number of vectors in all"
    ):
        bp.hessian_product(record, (stacked[0]._replace(W=stacked[0].W[:2]), *stacked[1:]))
    with pytest.raises(ValueError, match="arrays of V hold one and 3 stacked; expected"):
        bp.hessian_product(record, (params[0], *stacked[1:]))


@pytest.mark.parametrize(
    ("V", "error", "message"),
    [
        (lambda p: p[:2], TypeError, r"V is 2 entries; expected a tuple of 4 bp.Layer\(W, b\), like the parameters"),
        (lambda p: p[0], TypeError, "V is a Layer; expected a tuple of 4"),
        (lambda p: ravel_pytree(p)[0], TypeError, r"V is an array of shape \(177,\); expected a tuple of 4"),
        (lambda p: (p[0].W, *p[1:]), TypeError, r"layer 1 of V is an array of shape \(8, 6\); expected a bp.Layer\(W, b\)"),
        (lambda p: (*p[:3], bp.Layer(p[3].W.T, p[3].b)), ValueError, r"W\[4\] of V is an array of shape \(5, 3\); expected shape \(3, 5\), as in the parameters, or \(k, 3, 5\)"),
        (lambda p: (*p[:3], bp.Layer(p[3].W, p[3].b[:, 0])), ValueError, r"b\[4\] of V is an array of shape \(3,\); expected shape \(3, 1\)"),
        (lambda p: (*p[:3], p[3]._replace(b=1.0)), ValueError, r"b\[4\] of V is a float; expected shape \(3, 1\)"),
    ],
)  # fmt: skip
def test_a_vector_of_another_shape(V, error, message):
    network, params, X, Y, _ = arrays(DEEP)
    record = bp.backpropagate(network, params, X, Y)
    for product in (bp.hessian_product, bp.gauss_newton_product):
        with jax.disable_jit(), pytest.raises(error, match=message):
            product(record, V(params))


def _log_cosh(A, Y):
    return jnp.sum(jnp.log(jnp.cosh(A - Y)), axis=0)


def _log_cosh_dA(A, Y):
    return jnp.tanh(A - Y)


def _log_cosh_hessian(A, Y, V):
    return V / jnp.cosh(A - Y) ** 2


def _sine_prime(Z, A):
    return jnp.cos(Z)


def _sine_second(Z, A):
    return -A


def _wrong_shape(*args):
    return jnp.zeros(3)


def test_own_activation_and_cost():
    sine = bp.Activation(jnp.sin, _sine_prime, g_second=_sine_second)
    cost = bp.Cost(_log_cosh, _log_cosh_dA, hessian=_log_cosh_hessian)
    network = bp.Network((4, 6, 3), sine, sine, cost)
    _, params, X = random_network(Model((4, 6, 3)), 5)
    Y, V = jnp.ones((3, 5)), jax.tree.map(jnp.cos, params)

    def of_autodiff(params):
        (W1, b1), (W2, b2) = params
        return jnp.mean(_log_cosh(jnp.sin(W2 @ jnp.sin(W1 @ X + b1) + b2), Y))

    record = bp.backpropagate(network, params, X, Y)
    _, expected = jax.jvp(jax.grad(of_autodiff), (params,), (V,))
    assert largest_error(bp.hessian_product(record, V), expected) <= FLOAT64


@pytest.mark.parametrize(
    ("g_second", "hessian", "product", "error", "message"),
    [
        (None, _log_cosh_hessian, bp.hessian_product, TypeError, "activation sin of layer 1 has no g_second; pass one to bp.Activation"),
        (None, None, bp.gauss_newton_product, TypeError, "cost _log_cosh has no hessian; pass one to bp.Cost"),
        (None, None, lambda r, V: bp.gauss_newton_diagonal(r), TypeError, "cost _log_cosh has no hessian"),
        (None, None, lambda r, V: bp.kfac_factors(r), TypeError, "cost _log_cosh has no hessian"),
        (_wrong_shape, _log_cosh_hessian, bp.hessian_product, ValueError, r"g_second\(Z, A\) returns shape \(3,\) .* expected shape \(6, 5\)"),
        (_sine_second, _wrong_shape, bp.hessian_product, ValueError, r"hessian\(A, Y, V\) returns shape \(3,\) .* expected shape \(3, 5\)"),
    ],
)  # fmt: skip
def test_a_second_derivative_that_is_not_there(g_second, hessian, product, error, message):
    sine = bp.Activation(jnp.sin, _sine_prime, g_second=g_second)
    network = bp.Network((4, 6, 3), sine, "identity", bp.Cost(_log_cosh, _log_cosh_dA, hessian=hessian))
    _, params, X = random_network(Model((4, 6, 3)), 5)
    record = bp.backpropagate(network, params, X, jnp.ones((3, 5)))
    with pytest.raises(error, match=message):
        product(record, params)


def test_gauss_newton_needs_no_g_second():
    network = bp.Network((4, 6, 3), bp.Activation(jnp.sin, _sine_prime), "identity", "squared_error")
    _, params, X = random_network(Model((4, 6, 3)), 5)
    record = bp.backpropagate(network, params, X, jnp.ones((3, 5)))
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(bp.gauss_newton_product(record, params)))


def test_conjugate_gradients_solve_a_newton_step():
    """(G + damping I) d = -gradient, G never written out."""
    network, params, X, Y, _ = arrays(REGRESSION)
    record, damping = bp.backpropagate(network, params, X, Y), 1e-3

    def damped(V):
        return jax.tree.map(lambda g, v: g + damping * v, bp.gauss_newton_product(record, V), V)

    b = jax.tree.map(jnp.negative, bp.gradients(record))
    d, _ = jax.jit(lambda b: jax.scipy.sparse.linalg.cg(damped, b, tol=1e-12))(b)
    matrix = whole(functools.partial(bp.gauss_newton_product, record), params)
    flat, unravel = ravel_pytree(b)
    expected = unravel(jnp.linalg.solve(matrix + damping * jnp.eye(flat.size), flat))
    assert largest_error(d, expected) <= 1e-8


def test_kfac_solves_linear_regression_in_one_step():
    """There the curvature is a Kronecker product, 2 I by the mean of a a^T: preconditioning is Newton's step."""
    network, params, X, Y, weights = arrays(BY_NAME["linear regression"])
    record = bp.backpropagate(network, params, X, Y, weights)
    optimizer = optax.chain(bp.scale_by_kfac(damping=0.0), optax.scale(-1.0))
    updates, _ = optimizer.update(bp.gradients(record), optimizer.init(params), params, factors=bp.kfac_factors(record))
    fitted: Any = optax.apply_updates(params, updates)
    with_one = np.concatenate([X, np.ones((1, X.shape[1]))])
    best = np.linalg.lstsq((with_one * np.sqrt(weights)).T, (np.asarray(Y) * np.sqrt(weights)).T)[0].T
    assert largest_error(jnp.concatenate(fitted[0], axis=1), best) <= 1e-11


def test_kfac_step_is_a_solve_with_the_kronecker_product():
    network, params, X, Y, _ = arrays(DEEP)
    record, damping = bp.backpropagate(network, params, X, Y), 0.01
    grads, factors = bp.gradients(record), bp.kfac_factors(record)
    transformation: Any = bp.scale_by_kfac(damping)
    found, state = transformation.update(grads, transformation.init(params), params, factors=factors)
    for d, u, (A, G) in zip(grads, found, factors, strict=True):
        pi = np.sqrt((np.trace(A) / len(A)) / (np.trace(G) / len(G)))
        A, G = A + pi * np.sqrt(damping) * np.eye(len(A)), G + np.sqrt(damping) / pi * np.eye(len(G))
        expected = np.linalg.solve(np.kron(G, A), np.concatenate(d, axis=1).ravel())
        assert largest_error(np.concatenate(u, axis=1).ravel(), expected) <= 1e-11
    # the factors of the first step alone are their own average; of a second, of twice the size, they are not
    twice = jax.tree.map(lambda x: 2 * x, factors)
    _, state = transformation.update(grads, state, params, factors=twice)
    expected = jax.tree.map(lambda x: (0.95 * 0.05 + 0.05 * 2) * x, factors)
    assert largest_error(state.factors, expected) <= 1e-12 and state.steps == 2


def test_kfac_trains():
    """Faster, step by step, than plain gradient descent at its best constant rate."""
    network, params, X, Y, _ = arrays(BY_NAME["digits classifier"])

    def trained(optimizer, kfac):
        @jax.jit
        def step(params, state):
            record = bp.backpropagate(network, params, X, Y)
            extra = {"factors": bp.kfac_factors(record)} if kfac else {}
            updates, state = optimizer.update(bp.gradients(record), state, params, **extra)
            return optax.apply_updates(params, updates), state

        p, state = params, optimizer.init(params)
        for _ in range(20):
            p, state = step(p, state)
        return float(bp.cost(network, p, X, Y))

    kfac = trained(optax.chain(bp.scale_by_kfac(1e-2), optax.scale_by_learning_rate(0.3)), True)
    descent = min(trained(optax.sgd(rate), False) for rate in (0.1, 0.3, 1.0))
    assert kfac < descent / 2


def test_kfac_of_a_dead_layer_is_finite():
    network, params, X, Y, _ = arrays(BY_NAME["digits classifier"])
    params = (params[0]._replace(b=params[0].b - 1e4), params[1])
    record = bp.backpropagate(network, params, X, Y)
    transformation = bp.scale_by_kfac(1e-2)
    found, _ = transformation.update(
        bp.gradients(record), transformation.init(params), params, factors=bp.kfac_factors(record)
    )
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(found))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: bp.scale_by_kfac(damping=-1), ValueError, "damping is -1; expected a finite number, 0 or above"),
        (lambda: bp.scale_by_kfac(decay=1.0), ValueError, "decay is 1.0; expected a number from 0 to below 1"),
        (lambda: bp.scale_by_kfac(decay=-0.1), ValueError, "decay is -0.1; expected a finite number, 0 or above"),
        (
            lambda: bp.scale_by_kfac().update(layers([]), bp.scale_by_kfac().init(())),
            TypeError,
            r"update got no factors; expected optimizer.update\(..., factors=bp.kfac_factors\(record\)\)",
        ),
    ],
)
def test_bad_input(call, error, message):  # of scale_by_kfac
    with pytest.raises(error, match=message):
        call()
