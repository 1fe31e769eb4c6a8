"""The published systems of equations against the records of the same networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from problems import BY_NAME, DEEP, REGRESSION, arrays, random_network

import manual_bp as bp
from reference import loops
from reference.autodiff import Model
from reference.checker_proof import printed_sets
from reference.checker_proof import published_equations as published
from reference.grid import draw

assert_exact = functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-15)


def check(found: dict, expected: dict) -> None:
    assert found.keys() <= expected.keys()
    for name in found:
        assert_exact(found[name], expected[name], err_msg=name)


@pytest.mark.parametrize("name", ["logistic regression, one example", "logistic regression"])
def test_logistic_regression(name):
    network, params, X, Y, _ = arrays(BY_NAME[name])
    r = bp.backpropagate(network, params, X, Y)
    ((dW, db),) = bp.gradients(r)
    equations = published.logistic_regression if X.shape[1] == 1 else published.logistic_regression_vectorised
    expected = equations(*draw(BY_NAME[name], 0).params[0], np.asarray(X), np.asarray(Y))
    check({"Z": r.Z[1], "A": r.A[1], "dA": r.dA[1], "dZ": r.dZ[1], "dW": dW, "db": db}, expected)


@pytest.mark.parametrize("name", ["two layers, one example", "two layers"])
def test_two_layers(name):
    network, params, X, Y, _ = arrays(BY_NAME[name])
    r = bp.backpropagate(network, params, X, Y)
    (dW1, db1), (dW2, db2) = bp.gradients(r)
    (W1, b1), (W2, b2) = draw(BY_NAME[name], 0).params
    args = (W1, b1, W2, b2, np.asarray(X), np.asarray(Y), np.tanh, published.tanh_prime)
    expected = (published.two_layers if X.shape[1] == 1 else published.two_layers_vectorised)(*args)
    found = {"dZ2": r.dZ[2], "dW2": dW2, "db2": db2, "dZ1": r.dZ[1], "dW1": dW1, "db1": db1}
    check(found, {name.replace("z", "Z"): line for name, line in expected.items()})


G = printed_sets.G | {"identity": (lambda Z: Z, np.ones_like)}
DA_L = {
    "squared_error": lambda A, Y: 2 * (A - Y),
    "absolute_error": lambda A, Y: np.sign(A - Y),
    "cross_entropy": lambda A, Y: -Y / A + (1 - Y) / (1 - A),
}


@pytest.mark.parametrize("cost", list(DA_L))
@pytest.mark.parametrize("hidden", [("relu", "tanh", "sigmoid"), ("identity", "sigmoid", "relu")])
def test_deep_network(hidden, cost):
    sizes, m = (5, 7, 6, 4, 3), 9
    output = "sigmoid" if cost == "cross_entropy" else "identity"
    network, params, X = random_network(Model(sizes, hidden, output, cost), m)
    Y = jnp.asarray(np.random.default_rng(0).uniform(size=(3, m)))
    r = bp.backpropagate(network, params, X, Y)
    found = {f"{name}{l}": getattr(r, name)[l] for name in ("A", "dA", "Z", "dZ") for l in range("Z" in name, 5)}
    for l, (dW, db) in enumerate(bp.gradients(r), start=1):
        found |= {f"dW{l}": dW, f"db{l}": db}
    numbers = [(np.asarray(W), np.asarray(b)) for W, b in params]
    g = [G[name] for name in (*hidden, output)]
    check(found, published.deep_network(numbers, np.asarray(X), np.asarray(Y), g, DA_L[cost]))
    assert len(found) == 5 * 2 + 4 * 4


def test_one_neuron_per_layer():
    problem = BY_NAME["one neuron per layer"]
    network, params, X, Y, _ = arrays(problem)
    w, b = zip(*((W.item(), b.item()) for W, b in params), strict=True)
    s, s_prime = loops.SCALAR["sigmoid"]
    expected = published.one_neuron_per_layer(w, b, X.item(), Y.item(), s, s_prime)
    vector, _ = ravel_pytree(bp.grad(network)(params, X, Y))
    assert_exact(vector, expected)


def test_many_neurons_neuron_by_neuron():
    """dC/dw_jk, dC/db_j and dC/da_k of every neuron, averaged over examples, as one vector in layer order W, b."""
    network, params, X, Y, _ = arrays(REGRESSION)
    data = draw(REGRESSION, 0)
    _, grads, dX = loops.cost_and_gradient(REGRESSION.model, data.params, data.X, data.Y)
    vector, _ = ravel_pytree(bp.grad(network)(params, X, Y))
    assert_exact(vector, np.concatenate([d.ravel() for pair in grads for d in pair]))
    m = X.shape[1]
    assert_exact(bp.backpropagate(network, params, X, Y).dA[0] / m, dX)
    assert_exact(jax.grad(bp.cost, argnums=2)(network, params, X, Y), dX)


@functools.partial(jax.jit, static_argnums=0)
def _descend(network, params, X, Y, alpha, steps):
    def step(_, params):
        return optax.apply_updates(params, jax.tree.map(lambda d: -alpha * d, bp.grad(network)(params, X, Y)))

    return jax.lax.fori_loop(0, steps, step, params)


def test_gradient_descent():
    """W := W - alpha dW, b := b - alpha db: one step is exact, and many steps lower the cost."""
    network, params, X, Y, _ = arrays(DEEP)
    grads, alpha = bp.grad(network)(params, X, Y), 0.1
    for (W, b), (dW, db), (W_new, b_new) in zip(params, grads, _descend(network, params, X, Y, alpha, 1), strict=True):
        assert_exact(W_new, W - alpha * dW)
        assert_exact(b_new, b - alpha * db)
    costs = [bp.cost(network, _descend(network, params, X, Y, alpha, n), X, Y) for n in (0, 10, 100, 500)]
    assert costs == sorted(costs, reverse=True) and costs[-1] < 0.1 * costs[0]


def test_zero_initialisation_does_not_learn():
    """XOR needs hidden units that differ. They never do from zeros; from `init` they do, and XOR is learnt."""
    network = bp.Network((2, 6, 1), "tanh", "sigmoid")
    X, Y = jnp.array([[0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]]), jnp.array([[0.0, 1.0, 1.0, 0.0]])
    random = bp.init(network, jax.random.key(0))
    zeros = _descend(network, jax.tree.map(jnp.zeros_like, random), X, Y, 0.5, 2000)
    learnt = _descend(network, random, X, Y, 0.5, 2000)
    np.testing.assert_array_equal(zeros[0].W, jnp.zeros_like(zeros[0].W))
    np.testing.assert_allclose(bp.cost(network, zeros, X, Y), np.log(2), rtol=1e-6)
    assert bp.cost(network, learnt, X, Y) < 0.05
    assert len(np.unique(np.round(learnt[0].W[:, 0], 6))) == 6
