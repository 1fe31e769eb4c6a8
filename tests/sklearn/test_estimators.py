"""The estimators against scikit-learn's own: the same names, the same numbers, the same ways of use."""

import inspect
import itertools
import pickle
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest
import sklearn.neural_network as theirs
from problems import if_deep
from scipy.sparse import csc_array, csr_array
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn_problems import CLASSIFICATION, TARGETS, WEIGHTS, N, X, fitted, our, their, weights

import manual_bp.sklearn as ours

STOPPING = {"early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": 2, "tol": 0.02}
SOLVERS: dict[str, dict[str, Any]] = {
    "adam": {"solver": "adam", "hidden_layer_sizes": (7, 6), "batch_size": 16, "alpha": 0.3},
    "adam, weighted": {
        "solver": "adam", "batch_size": 16, "activation": "logistic", "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3
    },
    "adam, early stopping": {"solver": "adam", **STOPPING},
    "sgd": {"hidden_layer_sizes": (7, 6), "shuffle": False, "nesterovs_momentum": False, "activation": "tanh"},
    "sgd, adaptive": {"learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.03},
    "sgd, invscaling": {"learning_rate": "invscaling", "batch_size": 15, "activation": "identity"},
    "sgd, weighted, early stopping": {"batch_size": 16, "alpha": 0.3, "learning_rate_init": 0.1, **STOPPING},
}  # fmt: skip
# every problem with the last of the solvers, and every other solver with a problem or two
CELLS = [
    ("binary", "adam"),
    ("multiclass", "adam, weighted"),
    ("several outputs", "adam, weighted"),
    ("binary", "adam, early stopping"),
    ("several outputs", "sgd"),
    ("regression", "sgd, adaptive"),
    ("multilabel", "sgd, invscaling"),
    *((problem, "sgd, weighted, early stopping") for problem in TARGETS),
]
CELLS += [if_deep(p, s) for p in TARGETS for s in SOLVERS if (p, s) not in CELLS]


@pytest.mark.parametrize(("problem", "solver"), CELLS)
def test_the_same_random_state_gives_the_same_network(problem, solver):
    y, weight = TARGETS[problem], WEIGHTS if "weighted" in solver else None
    several = problem == "several outputs"
    options = SOLVERS[solver] | ({"tol": 0.0, "max_iter": 5} if several else {})
    expected, found = (fitted(e(problem, **options), X, y, weight) for e in (their, our))
    np.testing.assert_allclose(weights(found), weights(expected), rtol=0, atol=1e-9)
    if several:
        # the sum over outputs, where scikit-learn reports the mean
        assert all(np.array(found.loss_curve_) > expected.loss_curve_)
    else:
        np.testing.assert_allclose(found.loss_curve_, expected.loss_curve_, rtol=1e-9)
        assert found.best_loss_ == (None if options.get("early_stopping") else pytest.approx(expected.best_loss_))
        assert found.loss_ == found.loss_curve_[-1]
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(found, name) == getattr(expected, name), name
    for name in ("validation_scores_", "best_validation_score_"):
        value = getattr(expected, name)
        assert getattr(found, name) == (None if value is None else pytest.approx(value)), name
    assert found.score(X, y) == pytest.approx(expected.score(X, y))
    if problem in CLASSIFICATION:
        np.testing.assert_array_equal(found.classes_, expected.classes_)
        np.testing.assert_array_equal(found.predict(X), expected.predict(X))
        np.testing.assert_allclose(found.predict_proba(X), expected.predict_proba(X), rtol=1e-8)
        np.testing.assert_allclose(found.predict_log_proba(X), expected.predict_log_proba(X), rtol=1e-7)
    else:
        np.testing.assert_allclose(found.predict(X), expected.predict(X), rtol=1e-8)


@pytest.mark.parametrize(
    ("problem", "solver"),
    [("binary", "adam"), ("regression", "adam"), ("binary", "sgd, adaptive"), if_deep("regression", "sgd, adaptive")],
)
def test_partial_fit_is_theirs(problem, solver):
    """Adam's moments, the learning rate and the count of epochs without progress go on from call to call."""
    expected, found = (e(problem, **SOLVERS[solver]) for e in (their, our))
    for estimator in (expected, found):
        for i in range(9):
            rows = slice(0, 30) if i % 2 else slice(30, None)
            first = {"classes": ["yes", "no"]} if problem == "binary" and i == 0 else {}
            estimator.partial_fit(X[rows], TARGETS[problem][rows], **first)
    np.testing.assert_allclose(weights(found), weights(expected), rtol=0, atol=1e-9)
    assert (found.n_iter_, found.t_, len(found.loss_curve_)) == (expected.n_iter_, expected.t_, 9)


def test_a_multilabel_partial_fit():
    found, expected = (e("multilabel") for e in (our, their))
    for estimator in (found, expected):
        estimator.partial_fit(X[:9], TARGETS["multilabel"][:9], classes=[0, 1, 2])
    np.testing.assert_allclose(weights(found), weights(expected), atol=1e-9)


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_names_and_defaults_are_theirs(name):
    expected, found = (inspect.signature(getattr(module, name)).parameters for module in (theirs, ours))
    assert list(found)[: len(expected)] == list(expected)
    for parameter, value in expected.items():
        assert (found[parameter].default, found[parameter].kind) == (value.default, value.kind), parameter
    problem = "binary" if name == "MLPClassifier" else "regression"
    one, other = (fitted(e(problem), X, TARGETS[problem]) for e in (their, our))
    public = {attribute for attribute in dir(one) if not attribute.startswith("_")}
    # theirs is always "log_loss" in a classifier
    assert public - set(dir(other)) <= {"loss"}


def test_every_parameter_is_documented():
    for estimator in (ours.MLPClassifier, ours.MLPRegressor):
        text = f"{inspect.getdoc(ours.MLPClassifier)} {inspect.getdoc(estimator)}"
        assert all(parameter in text for parameter in inspect.signature(estimator).parameters)


@pytest.mark.parametrize("problem", TARGETS)
def test_pickle_and_clone(problem, deep):
    """Another process goes on as this one does; nothing compiled travels."""
    y = TARGETS[problem]
    found = fitted(our(problem, dropout=0.2 if deep or problem == "binary" else 0.0), X, y)
    other = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(other.predict(X), found.predict(X))
    for estimator in (found, other):
        estimator.partial_fit(X, y)
    np.testing.assert_array_equal(weights(found), weights(other))
    fresh: Any = clone(found)
    assert fresh.get_params() == found.get_params() and not hasattr(fresh, "coefs_")


def test_grid_search_in_a_pipeline_and_in_other_processes():
    search: Any = GridSearchCV(
        make_pipeline(StandardScaler(), our("multiclass", max_iter=4, tol=10.0, n_iter_no_change=1)),
        {"mlpclassifier__alpha": [0.0, 1.0], "mlpclassifier__hidden_layer_sizes": [(4,), 3]},
        cv=2,
        n_jobs=2,
        error_score="raise",  # type: ignore[arg-type]
    )
    assert search.fit(X, TARGETS["multiclass"]).best_score_ > 0.1
    assert search.predict(X).shape == (N,)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_other_numbers_compile_nothing(solver, caplog):
    """A grid over all that is a number compiles as much as one fit."""
    unused = {"momentum"} if solver == "adam" else {"beta_1", "beta_2", "epsilon"}
    numbers = {"alpha": 1, "learning_rate_init": 0.5, "beta_1": 0.3, "beta_2": 0.4, "epsilon": 0.1, "momentum": 0.2}
    one = fitted(our("multiclass", solver=solver, max_gradient_norm=0.2), X, TARGETS["multiclass"])
    with jax.log_compiles():
        for name, value in {**numbers, "max_gradient_norm": 0.1, "max_iter": 3, "random_state": 1}.items():
            options = {"solver": solver, "max_gradient_norm": 0.2, name: value}
            other = fitted(our("multiclass", **options), X, TARGETS["multiclass"])
            assert np.array_equal(weights(one), weights(other)) == (name in unused), name
    assert not [r for r in caplog.records if "XLA compilation" in r.getMessage()]


def test_max_iter_warns_as_theirs_does():
    for estimator in (our("binary"), our("binary", solver="lbfgs", max_iter=2)):
        with pytest.warns(ConvergenceWarning, match=f"max_iter={estimator.max_iter} "):
            estimator.fit(X, TARGETS["binary"])
    with pytest.warns(ConvergenceWarning, match="max_fun=3 evaluations"):
        our("binary", solver="lbfgs", max_fun=3).fit(X, TARGETS["binary"])


# adam and sgd both with and without early stopping, which L-BFGS does not have
ENDS = [
    case if case[2] == ((case[0] in ("binary", "regression")) == (case[1] == "adam")) else if_deep(*case)
    for case in itertools.product(
        ("binary", "multiclass", "multilabel", "regression"), ("adam", "sgd", "lbfgs"), (False, True)
    )
]


@pytest.mark.parametrize(("problem", "solver", "early_stopping"), ENDS)
def test_every_kind_of_training_ends_without_a_warning(problem, solver, early_stopping):
    y, options = TARGETS[problem], {"solver": solver, "early_stopping": early_stopping, "activation": "tanh"}
    options |= {"max_iter": 400, "tol": 0.02 if solver == "lbfgs" else 0.005, "learning_rate_init": 0.05}
    found, expected = (e(problem, **options).fit(X, y) for e in (our, their))
    assert 1 < found.n_iter_ < 400
    assert found.score(X, y) > expected.score(X, y) - 0.05


@pytest.mark.parametrize("form", [csr_array, csc_array])
def test_a_sparse_matrix_is_what_it_stands_for(form):
    sparse = np.where(X > 0.5, X, 0)
    dense, found = (fitted(our("multiclass"), x, TARGETS["multiclass"]) for x in (sparse, form(sparse)))
    np.testing.assert_array_equal(weights(found), weights(dense))
    np.testing.assert_allclose(found.predict_proba(form(sparse)), dense.predict_proba(sparse), rtol=1e-12)


def test_data_frames_have_feature_names():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcde"))
    found = fitted(our("binary"), frame, pandas.Series(TARGETS["binary"]))
    assert list(found.feature_names_in_) == list("abcde")
    np.testing.assert_array_equal(found.predict(frame), fitted(our("binary"), X, TARGETS["binary"]).predict(X))
    with pytest.raises(ValueError, match="feature names should match"):
        found.predict(frame.rename(columns={"a": "z"}))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("enabled", [False, True])
def test_the_dtype_is_that_of_X_whatever_jax_is_set_to(dtype, enabled):
    with jax.enable_x64(enabled):
        found = fitted(our("binary"), X.astype(dtype), TARGETS["binary"])
        assert {w.dtype for w in found.coefs_ + found.intercepts_} == {np.dtype(dtype)}
        assert found.predict_proba(X).dtype == dtype
    tolerance = 1e-9 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(weights(found), weights(fitted(their("binary"), X, TARGETS["binary"])), atol=tolerance)


def test_without_scikit_learn():
    code = "import sys; sys.modules['sklearn'] = None; import manual_bp; import manual_bp.sklearn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.endswith("Error: the estimators need scikit-learn: pip install 'manual_bp[sklearn]'\n")
