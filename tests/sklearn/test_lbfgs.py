"""L-BFGS: scikit-learn's steps, with the hand-written gradient."""

import jax
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn_problems import TARGETS, WEIGHTS, X, fitted, our, their, weights

from manual_bp.sklearn import _lbfgs as lbfgs


@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize(
    "options",
    [{"hidden_layer_sizes": (), "max_iter": 100}, {"hidden_layer_sizes": (7, 6)}],
    ids=["converged", "12 steps"],
)
@pytest.mark.parametrize("problem", TARGETS)
def test_the_steps_are_scikit_learns(problem, options, weight):
    found, expected = (fitted(e(problem, solver="lbfgs", **options), X, TARGETS[problem], weight) for e in (our, their))
    np.testing.assert_allclose(weights(found), weights(expected), rtol=0, atol=1e-11)
    assert found.n_iter_ == expected.n_iter_ == len(found.loss_curve_) and found.t_ == 0
    assert found.best_loss_ == found.loss_ == found.loss_curve_[-1] and np.all(np.diff(found.loss_curve_) < 0)
    if problem != "several outputs":  # the sum over outputs, where scikit-learn reports the mean
        assert found.loss_ == pytest.approx(expected.loss_, rel=1e-11)


def test_in_float32_it_ends_near_the_same_minimum():
    """The loss stops falling where float32 cannot tell a lower one apart, without a warning."""
    options = {"solver": "lbfgs", "hidden_layer_sizes": (), "alpha": 1.0, "max_iter": 1000, "tol": 0.0}
    exact, found = (our("multiclass", **options).fit(x, TARGETS["multiclass"]) for x in (X, X.astype("float32")))
    assert found.coefs_[0].dtype == np.float32
    np.testing.assert_allclose(weights(found), weights(exact), atol=2e-3)
    assert found.loss_ == pytest.approx(exact.loss_, rel=1e-6)


def test_the_gradient_is_the_hand_written_one(monkeypatch):
    """With another one the line search fails: the weights stay as they are, and a warning says so."""

    def wrong(*args):
        c, grads = good(*args)
        return c, jax.tree.map(jax.numpy.negative, grads)

    good = lbfgs.value_and_grad
    monkeypatch.setattr(lbfgs, "value_and_grad", wrong)
    jax.clear_caches()
    estimator = our("binary", solver="lbfgs", max_iter=1000)
    with pytest.warns(ConvergenceWarning, match="L-BFGS ended before it converged: ABNORMAL"):
        estimator.fit(X, TARGETS["binary"])
    assert estimator.n_iter_ == 0
    jax.clear_caches()


def test_other_numbers_compile_nothing(caplog):
    one = fitted(our("binary", solver="lbfgs"), X, TARGETS["binary"])
    with jax.log_compiles():
        for change in ({"alpha": 1}, {"tol": 0}, {"max_fun": 3}, {"max_iter": 5}, {"random_state": 0}):
            fitted(our("binary", solver="lbfgs", **change), X, TARGETS["binary"])
    assert not [r for r in caplog.records if "XLA compilation" in r.getMessage()]
    assert one.n_iter_ == 12
