"""L-BFGS: where it ends, why, and by whose gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import manual_bp as bp
from manual_bp._training.objective import objective
from manual_bp.sklearn import _lbfgs as lbfgs
from tests.sklearn_problems import TARGETS, WEIGHTS, X, fitted, our, their, weights

NETWORK = bp.Network((5, 4, 3), "tanh")
Y = TARGETS["multiclass"] - 4


def start():
    return bp.init(NETWORK, jax.random.key(0), "float64")


def minimize(tolerance: float = 1e-4, max_iterations: int = 300, max_evaluations: int = 1000, w=None, inputs=X):
    run = lbfgs.minimizer(objective(NETWORK, 0.0, 0.0, None), max_iterations)
    return run(start(), jnp.asarray(inputs.T), jnp.asarray(Y), w, 0.1, tolerance, max_evaluations)


def value(params, w=None):
    penalty = 0.1 / 2 * sum(jnp.sum(W**2) for W, _ in params)
    return bp.cost(NETWORK, params, jnp.asarray(X.T), jnp.asarray(Y), None if w is None else jnp.asarray(w)) + penalty


@pytest.mark.parametrize("w", [None, WEIGHTS])
def test_it_ends_at_a_minimum(w):
    found = minimize(w=w)
    assert lbfgs.REASONS[int(found.stopped)] == "gradient"
    np.testing.assert_allclose(found.cost, value(found.params, w), rtol=1e-12)
    gradient = jax.grad(value)(found.params, w)
    assert max(float(jnp.max(jnp.abs(g))) for g in jax.tree.leaves(gradient)) <= 1e-4
    costs = found.costs[: int(found.iterations)]
    assert jnp.all(jnp.diff(costs) < 0) and costs[-1] == found.cost and jnp.all(jnp.isnan(found.costs[len(costs) :]))
    assert found.evaluations > found.iterations > 5


def test_why_it_ends():
    reasons = {
        "iterations": minimize(max_iterations=3),
        "evaluations": minimize(max_evaluations=4),
        "cost": minimize(tolerance=0.0),
        "not finite": minimize(inputs=np.where(X > 2, np.inf, X)),
    }
    for reason, found in reasons.items():
        assert lbfgs.REASONS[int(found.stopped)] == reason
    assert reasons["iterations"].iterations == 3 and reasons["evaluations"].evaluations <= 4 + 20


def test_the_gradient_is_the_hand_written_one(monkeypatch):
    """With another one it does not get there."""
    good = lbfgs.value_and_grad
    lbfgs.minimizer.cache_clear()

    def wrong(*args):
        c, grads = good(*args)
        return c, jax.tree.map(jnp.negative, grads)

    monkeypatch.setattr(lbfgs, "value_and_grad", wrong)
    assert minimize().cost > 2 * value(start()) / 3
    lbfgs.minimizer.cache_clear()


@pytest.mark.parametrize("problem", TARGETS)
def test_it_is_as_good_as_scipys(problem):
    """Without a hidden layer there is one minimum."""
    options = {"solver": "lbfgs", "hidden_layer_sizes": (), "alpha": 1.0, "max_iter": 1000, "tol": 1e-5}
    y = TARGETS[problem]
    found, expected = (fitted(e(problem, **options), X, y, WEIGHTS) for e in (our, their))
    if problem != "several outputs":
        assert found.loss_ == pytest.approx(expected.loss_, rel=1e-7)
        assert found.n_iter_ < 1.5 * expected.n_iter_
    np.testing.assert_allclose(weights(found), weights(expected), atol=1e-3)
    assert found.best_loss_ == found.loss_ == found.loss_curve_[-1] and found.t_ == 0


def test_other_numbers_compile_nothing(caplog):
    one = fitted(our("binary", solver="lbfgs"), X, TARGETS["binary"])
    with jax.log_compiles():
        for change in ({"alpha": 1}, {"tol": 0}, {"max_fun": 3}, {"random_state": 0}):
            fitted(our("binary", solver="lbfgs", **change), X, TARGETS["binary"])
    assert not [r for r in caplog.records if "XLA compilation" in r.getMessage()]
    assert one.n_iter_ == 12
