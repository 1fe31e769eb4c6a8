"""Gradients in bfloat16, which are added up in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import arrays, by_autodiff, if_deep

import manual_bp as bp
from reference.grid import PROBLEMS


@pytest.mark.parametrize(
    "problem",
    [PROBLEMS[9], PROBLEMS[18], if_deep(PROBLEMS[0]), if_deep(PROBLEMS[27])],
    ids=lambda problem: problem.name,
)
def test_bfloat16_is_as_good_as_autodiff(problem):
    """Against a float64 run of the same bfloat16 numbers: twice autodiff's own error, or 4 eps, whichever is more."""
    found, own = [], []
    for seed in range(4):
        network, params, X, Y, weights = arrays(problem, seed, jnp.bfloat16)
        wide = jax.tree.map(lambda x: x if x.dtype == int else np.asarray(x).astype(float), (params, X, Y, weights))
        true = by_autodiff(problem.model, *wide)[1]
        found.append(_whole_error(bp.grad(network)(params, X, Y, weights), true))
        own.append(_whole_error(by_autodiff(problem.model, params, X, Y, weights)[1], true))
    # The whole gradient, and the mean of a few draws: one leaf of a few bfloat16 numbers is off by chance
    assert np.mean(found) <= max(2 * np.mean(own), 4 * float(jnp.finfo(jnp.bfloat16).eps))


def _whole_error(found, true):
    found, true = (np.concatenate([np.ravel(leaf).astype(float) for leaf in jax.tree.leaves(x)]) for x in (found, true))
    return np.linalg.norm(found - true) / np.linalg.norm(true)


def test_bfloat16_average_is_taken_after_the_sum():
    """A thousand equal examples: 1/m rounds in bfloat16 and would take the gradient with it."""
    network = bp.Network((3, 2), output="identity", cost="squared_error")
    params = (bp.Layer(jnp.zeros((2, 3), jnp.bfloat16), jnp.zeros((2, 1), jnp.bfloat16)),)
    m = 1001
    dW, db = bp.grad(network)(params, jnp.ones((3, m)), jnp.full((2, m), 0.5))[0]
    np.testing.assert_array_equal(dW, -1)
    np.testing.assert_array_equal(db, -1)
