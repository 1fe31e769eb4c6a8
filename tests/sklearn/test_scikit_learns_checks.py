"""scikit-learn's checks of estimators, with no failure expected."""

import warnings
from typing import Any

import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from manual_bp.sklearn import MLPClassifier, MLPRegressor

# most of a check is compiling, so these have the smallest programs with which it passes
SMALL = {"hidden_layer_sizes": (), "solver": "sgd", "learning_rate_init": 0.05, "max_iter": 30}
# as in sklearn/utils/_test_common/instance_generator.py
SCIKIT_LEARNS = {"hidden_layer_sizes": (100,), "solver": "adam", "learning_rate_init": 0.001, "max_iter": 100}


@parametrize_with_checks([MLPClassifier(**SMALL), MLPRegressor(**SMALL)])
def test_scikit_learns_checks(estimator, check, deep):
    if deep:
        estimator.set_params(**SCIKIT_LEARNS)
    # its own are run in the same way
    with warnings.catch_warnings():
        for category in (FutureWarning, ConvergenceWarning, UserWarning):
            warnings.simplefilter("ignore", category)
        check(estimator)


@pytest.mark.parametrize(
    "estimator",
    [
        MLPClassifier(solver="lbfgs", max_iter=100),
        MLPRegressor(solver="sgd", tol=1e-2, random_state=42, max_iter=100),
    ],
    ids=["lbfgs", "sgd"],
)
@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_a_weight_is_a_repetition(estimator, form):
    """The check to which scikit-learn gives its own estimators these solvers."""
    check: Any = getattr(estimator_checks, f"check_sample_weight_equivalence_on_{form}_data")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        check(type(estimator).__name__, estimator)
