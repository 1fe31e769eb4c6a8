"""Products with the Hessian and with its Gauss-Newton part, diagonals and Kronecker factors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from problems import BY_NAME, DEEP, REGRESSION, arrays, if_deep, random_network

import manual_bp as bp
from reference import autodiff, curvature
from reference.autodiff import Model
from reference.compare import largest_error

FLOAT64 = 1e-11
SMALL = ["two layers, multilabel", "width 1", "softmax under squared error", "softmax under absolute error"]


@functools.cache
def deep_record():
    network, params, X, Y, _ = arrays(DEEP)
    return bp.backpropagate(network, params, X, Y), params


def whole(product, params):
    """The matrix of a linear map of trees like the parameters: all unit vectors at once."""
    flat, unravel = ravel_pytree(params)
    units = jax.vmap(unravel)(jnp.eye(flat.size))
    return jax.vmap(lambda V: ravel_pytree(V)[0])(product(units))


@pytest.mark.parametrize("name", SMALL)
def test_products_are_those_of_the_whole_matrices(name):
    problem = BY_NAME[name]
    network, params, X, Y, weights = arrays(problem)

    @jax.jit
    def both(params, X, Y, weights):
        flat, unravel = ravel_pytree(params)
        record = bp.backpropagate(network, params, X, Y, weights)
        H = whole(functools.partial(bp.hessian_product, record), params)
        G = whole(functools.partial(bp.gauss_newton_product, record), params)
        expected = jax.hessian(lambda v: autodiff.cost(problem.model, unravel(v), X, Y, weights))(flat)
        of_one = functools.partial(curvature.gauss_newton_product, problem.model, params, X, Y, record.weights[0])
        diagonal, _ = ravel_pytree(bp.gauss_newton_diagonal(record))
        return (H, G, diagonal), (expected, whole(jax.vmap(of_one), params))

    (H, G, diagonal), (expected_H, expected_G) = jax.tree.map(np.asarray, both(params, X, Y, weights))
    assert largest_error(H, expected_H) <= FLOAT64
    assert largest_error(G, expected_G) <= FLOAT64
    np.testing.assert_allclose(G, G.T, atol=1e-12)
    assert np.linalg.eigvalsh(G).min() >= -1e-12 * np.linalg.norm(G, 2)
    assert largest_error(diagonal, np.diag(G)) <= FLOAT64


@pytest.mark.parametrize(("name", "are_one"), [("linear regression", True), (REGRESSION.name, False)])
def test_where_network_and_loss_leave_nothing_else_the_two_are_one(name, are_one):
    """Without g'', as in one linear layer, the Hessian is its Gauss-Newton part."""
    network, params, X, Y, weights = arrays(BY_NAME[name])
    record, V = bp.backpropagate(network, params, X, Y, weights), jax.tree.map(np.cos, params)
    error = largest_error(bp.hessian_product(record, V), bp.gauss_newton_product(record, V))
    assert error <= FLOAT64 if are_one else error > 0.01


@pytest.mark.parametrize("problem", [REGRESSION, if_deep(DEEP)], ids=lambda p: p.name)
def test_several_vectors_share_the_pass(problem):
    network, params, X, Y, weights = arrays(problem)
    record = bp.backpropagate(network, params, X, Y, weights)
    vectors = [jax.tree.map(f, params) for f in (np.sin, np.exp, np.zeros_like)]
    stacked = jax.tree.map(lambda *v: np.stack(v), *vectors)
    for product in (bp.hessian_product, bp.gauss_newton_product):
        found = product(record, stacked)
        for i, V in enumerate(vectors):
            assert largest_error(jax.tree.map(lambda x, i=i: x[i], found), product(record, V)) <= FLOAT64
    with pytest.raises(ValueError, match="V hold 2 stacked and 3 stacked; expected the same number of vectors in each"):
        bp.hessian_product(record, (stacked[0]._replace(W=stacked[0].W[:2]), *stacked[1:]))
    with pytest.raises(ValueError, match="arrays of V hold one and 3 stacked; expected"):
        bp.hessian_product(record, (params[0], *stacked[1:]))


@pytest.mark.parametrize(
    ("V", "error", "message"),
    [
        (lambda p: p[:2], TypeError, r"V is a tuple of length 2; expected a tuple of 4 bp.Layer\(W, b\), like the parameters"),
        (lambda p: p[0], TypeError, "V is a Layer; expected a tuple of 4"),
        (lambda p: ravel_pytree(p)[0], TypeError, r"V is an array of shape \(177,\); expected a tuple of 4"),
        (lambda p: (p[0].W, *p[1:]), TypeError, r"layer 1 of V is an array of shape \(8, 6\); expected a bp.Layer\(W, b\)"),
        (lambda p: (*p[:3], bp.Layer(p[3].W.T, p[3].b)), ValueError, r"W\[4\] of V is an array of shape \(5, 3\); expected shape \(3, 5\), as in the parameters, or \(k, 3, 5\)"),
        (lambda p: (*p[:3], bp.Layer(p[3].W, p[3].b[:, 0])), ValueError, r"b\[4\] of V is an array of shape \(3,\); expected shape \(3, 1\)"),
        (lambda p: (*p[:3], p[3]._replace(b=1.0)), ValueError, r"b\[4\] of V is a float; expected shape \(3, 1\)"),
    ],
)  # fmt: skip
def test_a_vector_of_another_shape(V, error, message):
    record, params = deep_record()
    for product in (bp.hessian_product, bp.gauss_newton_product):
        with jax.disable_jit(), pytest.raises(error, match=message):
            product(record, V(params))


def _log_cosh(A, Y):
    return jnp.sum(jnp.log(jnp.cosh(A - Y)), axis=0)


def _log_cosh_hessian(A, Y, V):
    return V / jnp.cosh(A - Y) ** 2


def _sine_second(Z, A):
    return -A


def _wrong_shape(*args):
    return jnp.zeros(3)


sine_with = functools.partial(bp.Activation, jnp.sin, lambda Z, A: jnp.cos(Z))
log_cosh_with = functools.partial(bp.Cost, _log_cosh, lambda A, Y: jnp.tanh(A - Y))


def record_of(hidden, output, cost):
    """The record and the parameters of a network (4, 6, 3) on five examples."""
    _, params, X = random_network(Model((4, 6, 3)), 5)
    return bp.backpropagate(bp.Network((4, 6, 3), hidden, output, cost), params, X, np.ones((3, 5))), params


def test_own_activation_and_cost():
    sine = sine_with(g_second=_sine_second)
    record, params = record_of(sine, sine, log_cosh_with(hessian=_log_cosh_hessian))
    X, Y, V = record.A[0], record.Y, jax.tree.map(np.cos, params)

    def of_autodiff(params):
        (W1, b1), (W2, b2) = params
        return jnp.mean(_log_cosh(jnp.sin(W2 @ jnp.sin(W1 @ X + b1) + b2), Y))

    _, expected = jax.jit(lambda params, V: jax.jvp(jax.grad(of_autodiff), (params,), (V,)))(params, V)
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
    record, params = record_of(sine_with(g_second=g_second), "identity", log_cosh_with(hessian=hessian))
    with pytest.raises(error, match=message):
        product(record, params)


def test_gauss_newton_needs_no_g_second():
    record, params = record_of(sine_with(), "identity", "squared_error")
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(bp.gauss_newton_product(record, params)))


def test_conjugate_gradients_solve_a_newton_step():
    """(G + damping I) d = -gradient, G never written out."""
    network, params, X, Y, _ = arrays(REGRESSION)
    damping = 1e-3

    @jax.jit
    def solved(params, X, Y):
        record = bp.backpropagate(network, params, X, Y)

        def damped(V):
            return jax.tree.map(lambda g, v: g + damping * v, bp.gauss_newton_product(record, V), V)

        b = jax.tree.map(jnp.negative, bp.gradients(record))
        d, _ = jax.scipy.sparse.linalg.cg(damped, b, tol=1e-12)
        return d, b, whole(functools.partial(bp.gauss_newton_product, record), params)

    d, b, matrix = solved(params, X, Y)
    d, b = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (d, b))
    assert largest_error(d, np.linalg.solve(matrix + damping * np.eye(b.size), b)) <= 1e-8
