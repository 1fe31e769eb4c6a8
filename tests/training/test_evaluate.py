"""The cost and the metric of examples, block by block."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_fit import NETWORK, WEIGHTS, M, X, Y, close

import manual_bp as bp

# called without types, as a user may
evaluate: Any = bp.evaluate


@pytest.mark.parametrize("m", [3, 150, 178, 100_000])
@pytest.mark.parametrize("weighted", [True, False])
def test_all_right_is_an_accuracy_of_one(m, weighted):
    network, weights = bp.Network((1, 2)), np.linspace(0.1, 1, m, dtype=np.float32) if weighted else None
    params = (bp.Layer(jnp.array([[1.0], [-1.0]], jnp.float32), jnp.zeros((2, 1), jnp.float32)),)
    x = np.cos(np.arange(m, dtype=np.float32))[None]
    assert evaluate(network, params, x, (x[0] < 0).astype(int), weights).metric == 1.0


def test_the_cost_and_the_metric_are_those_of_all_examples():
    params = bp.init(NETWORK, jax.random.key(0), jnp.float64)
    A = np.asarray(bp.predict(NETWORK, params, jnp.asarray(X)))
    right, losses = np.argmax(A, axis=0) == Y, -np.log(A[Y, np.arange(M)])
    for weights in (None, WEIGHTS):
        expected = np.average(losses, weights=weights), np.average(right, weights=weights)
        for block_size in (3, M if weights is None else 1000):
            close(tuple(evaluate(NETWORK, params, X, Y, weights, block_size=block_size)), expected, 1e-12)
    assert abs(evaluate(NETWORK, params, X, np.eye(3)[:, Y]).metric - np.mean(right)) <= 1e-12


def first_output(A, Y):
    return A[0]


def the_mean(A, Y):
    return jnp.mean(A)


def test_metrics():
    labels = bp.Network((4, 2), (), "sigmoid")
    params = bp.init(labels, jax.random.key(0), jnp.float64)
    A, two = np.asarray(bp.predict(labels, params, jnp.asarray(X))), (np.array([[0], [1]]) < Y).astype(float)
    assert abs(evaluate(labels, params, X, two).metric - np.mean(((A > 0.5) == two).all(axis=0))) <= 1e-12
    assert abs(evaluate(labels, params, X, two, metric=first_output).metric - np.mean(A[0])) <= 1e-12
    line = bp.Network((4, 2), (), "identity", "squared_error")
    assert evaluate(line, params, X, two).metric is None
    messages = {"accuracy": "the output is identity", "auc": "metric is 'auc'", the_mean: r"expected shape \(47,\)"}
    for metric, message in messages.items():
        with pytest.raises(ValueError, match=message):
            evaluate(line, params, X, two, metric=metric)
