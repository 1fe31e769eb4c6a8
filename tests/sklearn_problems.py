"""Small data and estimators, scikit-learn's and ours, for the tests of the latter."""

import warnings
from typing import Any

import numpy as np
import sklearn.neural_network as theirs
from sklearn.exceptions import ConvergenceWarning

import manual_bp.sklearn as ours

RNG = np.random.default_rng(0)
N = 60
X = RNG.normal(size=(N, 5))
SCORES = X[:, :3] + 0.5 * RNG.normal(size=(N, 3))
WEIGHTS = RNG.uniform(0.1, 2, N)
TARGETS: dict[str, np.ndarray] = {
    "binary": np.array(["no", "yes"])[(SCORES[:, 0] > 0).astype(int)],
    "multiclass": np.argmax(SCORES, axis=1) + 4,
    "multilabel": (SCORES > 0).astype(int),
    "regression": SCORES[:, 0] ** 2,
    "several outputs": SCORES,
    "poisson": np.floor(np.exp(SCORES[:, 0])),
}
CLASSIFICATION = ("binary", "multiclass", "multilabel")
# of the solvers sgd compiles fastest
OPTIONS = {"hidden_layer_sizes": (7,), "solver": "sgd", "max_iter": 12, "learning_rate_init": 0.02, "random_state": 3}


def their(problem: str, **options: Any) -> Any:
    return _estimator(theirs, problem, options)


def our(problem: str, **options: Any) -> Any:
    return _estimator(ours, problem, options)


def _estimator(module: Any, problem: str, options: dict) -> Any:
    options = OPTIONS | ({"loss": "poisson"} if problem == "poisson" else {}) | options
    return getattr(module, "MLPClassifier" if problem in CLASSIFICATION else "MLPRegressor")(**options)


def fitted(estimator: Any, *args: Any, **options: Any) -> Any:
    """Fits without the warning that the epochs were not enough."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(*args, **options)


def weights(estimator: Any) -> np.ndarray:
    """Returns all coefs_ and intercepts_ in one array."""
    return np.concatenate([np.ravel(w) for w in estimator.coefs_ + estimator.intercepts_])
