"""The Kronecker factors as an optimizer's step."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import BY_NAME, DEEP, arrays, if_deep, layers

import manual_bp as bp
from reference.compare import largest_error


def test_kfac_solves_linear_regression_in_one_step():
    """There the curvature is a Kronecker product, 2 I by the mean of a a^T: preconditioning is Newton's step."""
    network, params, X, Y, weights = arrays(BY_NAME["linear regression"])
    grads, factors = grads_and_factors(network, params, X, Y, weights)
    optimizer = optax.chain(bp.scale_by_kfac(damping=0.0), optax.scale(-1.0))
    updates, _ = jax.jit(lambda state: optimizer.update(grads, state, params, factors=factors))(optimizer.init(params))
    fitted: Any = optax.apply_updates(params, updates)
    with_one = np.concatenate([X, np.ones((1, X.shape[1]))])
    best = np.linalg.lstsq((with_one * np.sqrt(weights)).T, (np.asarray(Y) * np.sqrt(weights)).T)[0].T
    assert largest_error(jnp.concatenate(fitted[0], axis=1), best) <= 1e-11


@functools.partial(jax.jit, static_argnums=0)
def grads_and_factors(network, params, X, Y, weights=None):
    record = bp.backpropagate(network, params, X, Y, weights)
    return bp.gradients(record), bp.kfac_factors(record)


@pytest.mark.parametrize("name", ["soft targets", if_deep(DEEP.name)])
def test_kfac_step_is_a_solve_with_the_kronecker_product(name):
    network, params, X, Y, _ = arrays(BY_NAME[name])
    damping = 0.01
    transformation: Any = bp.scale_by_kfac(damping)
    grads, factors = grads_and_factors(network, params, X, Y)
    update = jax.jit(lambda state, factors: transformation.update(grads, state, params, factors=factors))
    found, state = update(transformation.init(params), factors)
    for d, u, (A, G) in zip(grads, found, factors, strict=True):
        pi = np.sqrt((np.trace(A) / len(A)) / (np.trace(G) / len(G)))
        A, G = A + pi * np.sqrt(damping) * np.eye(len(A)), G + np.sqrt(damping) / pi * np.eye(len(G))
        expected = np.linalg.solve(np.kron(G, A), np.concatenate(d, axis=1).ravel())
        assert largest_error(np.concatenate(u, axis=1).ravel(), expected) <= 1e-11
    # the factors of the first step alone are their own average; of a second, of twice the size, they are not
    _, state = update(state, jax.tree.map(lambda x: 2 * np.asarray(x), factors))
    expected = jax.tree.map(lambda x: (0.95 * 0.05 + 0.05 * 2) * np.asarray(x), factors)
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


@pytest.mark.parametrize("name", ["soft targets", if_deep("digits classifier")])
def test_kfac_of_a_dead_layer_is_finite(name):
    network, params, X, Y, _ = arrays(BY_NAME[name])
    params = (params[0]._replace(b=np.asarray(params[0].b) - 1e4), params[1])
    grads, factors = grads_and_factors(network, params, X, Y)
    assert not np.any(grads[0].W)
    transformation = bp.scale_by_kfac(1e-2)
    found, _ = jax.jit(lambda state: transformation.update(grads, state, params, factors=factors))(
        transformation.init(params)
    )
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(found))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: bp.scale_by_kfac(damping=-1), ValueError, "damping is -1; expected a finite number, 0 or above"),
        (lambda: bp.scale_by_kfac(decay=1.0), ValueError, "decay is 1.0; expected a number from 0 to below 1"),
        (lambda: bp.scale_by_kfac(decay=-0.1), ValueError, "decay is -0.1; expected a finite number, 0 or above"),
        (
            lambda: bp.scale_by_kfac().update(layers([]), bp.scale_by_kfac().init(())),
            TypeError,
            r"update got no factors; call optimizer.update\(..., factors=bp.kfac_factors\(record\)\)",
        ),
    ],
)
def test_bad_input(call, error, message):  # of scale_by_kfac
    with pytest.raises(error, match=message):
        call()
