"""Errors, warnings and printed lines of the estimators."""

import numpy as np
import optax
import pytest
from sklearn.exceptions import NotFittedError
from sklearn_problems import TARGETS, N, X, fitted, our

PARAMETERS = {
    "alpha": (-1, "alpha is -1; expected a finite number, 0 or above"),
    "learning_rate_init": (0, "learning_rate_init is 0; expected a finite number above 0"),
    "momentum": (1.5, "momentum is 1.5; expected a number that is at least 0 and at most 1"),
    "beta_2": (1.0, "beta_2 is 1.0; expected a number that is at least 0 and below 1"),
    "max_iter": (0, "max_iter is 0; expected 1 or more"),
    "n_iter_no_change": (2.5, "n_iter_no_change is 2.5; expected an integer, 1 or more, or np.inf"),
    "batch_size": ("all", "batch_size is 'all'; expected an integer, 1 or more, or 'auto'"),
    "learning_rate": ("linear", "learning_rate is 'linear'; expected one of constant, invscaling, adaptive"),
    "solver": ("rmsprop", "solver is 'rmsprop'; expected one of adam, sgd, lbfgs, or an optax optimizer"),
    "hidden_layer_sizes": ((7, 0), r"hidden_layer_sizes\[1\] is 0; expected 1 or more"),
    "activation": (
        "mish",
        "activation is 'mish'; expected one of identity, logistic, tanh, relu, .*, or a bp.Activation",
    ),
    "activation, of a layer": (["relu", "softmax"], r"activation\[1\] is softmax; expected an element-wise activation"),
    "activation, too few": (["relu"], "activation has length 1; expected 2, one for each hidden layer"),
    "dtype": ("int32", "dtype is 'int32'; expected one of None, float32, float64"),
    "dtype, misspelt": ("fp32", "dtype is 'fp32'; expected one of None, float32, float64"),
    "compute_dtype": ("float16", "compute_dtype is float16"),
    "dropout": (1.0, "dropout is 1.0; expected a probability"),
    "max_gradient_norm": (0.0, "max_gradient_norm is 0.0; expected a finite number above 0"),
    "callbacks": ([3], r"callbacks is \[3\]; expected a list of functions of a bp.Epoch"),
    "callbacks, one": (print, "callbacks is <built-in function print>; expected a list of functions"),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_out_of_its_range(name):
    value, message = PARAMETERS[name]
    name = name.split(",")[0]
    with pytest.raises((ValueError, TypeError), match=message):
        our("binary", **{"hidden_layer_sizes": (7, 6), name: value}).fit(X, TARGETS["binary"])


def test_a_solver_or_a_loss_of_another_kind():
    with pytest.raises(TypeError, match="solver is an int; expected an optax optimizer"):
        our("binary", solver=3).fit(X, TARGETS["binary"])
    with pytest.raises(TypeError, match="activation is 3; expected the name of an activation"):
        our("binary", activation=3).fit(X, TARGETS["binary"])
    for loss, message in (
        ("hinge", "loss is 'hinge'; expected one of squared_error, .*, or a bp.Cost"),
        ((32,), r"loss is \(32,\); expected one of squared_error.* hidden_layer_sizes, the first"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            our("regression", loss=loss).fit(X, TARGETS["regression"])
    with pytest.raises(ValueError, match="y has values below 0; expected non-negative counts or rates"):
        our("poisson").fit(X, -TARGETS["poisson"])


@pytest.mark.parametrize("option", [{"dropout": 0.1}, {"max_gradient_norm": 1.0}, {"callbacks": [print]}])
def test_what_lbfgs_has_no_use_for(option):
    with pytest.raises(ValueError, match=f"solver is 'lbfgs', which does not support {next(iter(option))}"):
        our("binary", solver="lbfgs", **option).fit(X, TARGETS["binary"])


def test_validation_data_that_do_not_fit():
    y, estimator = TARGETS["binary"], our("binary")
    for data, message in (
        (X, r"validation_data is an array of shape \(60, 5\); expected"),
        ((X[:, :3], y), "X has 3 features"),
        ((X, y[:9]), "inconsistent numbers"),
        ((X, np.full(N, "maybe")), "y has classes .*maybe.*; expected some of"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            estimator.fit(X, y, validation_data=data)
    with pytest.raises(ValueError, match="validation_data is given, but solver 'lbfgs' has no epochs"):
        our("binary", solver="lbfgs").fit(X, y, validation_data=(X, y))


def test_class_weights_that_do_not_fit():
    for problem, weight, message in (
        ("binary", {"maybe": 2.0}, "class_weight has .'maybe'.; expected some of .'no', 'yes'."),
        ("binary", "even", "class_weight is 'even'; expected 'balanced'"),
        ("multilabel", "balanced", "examples have several labels"),
    ):
        with pytest.raises(ValueError, match=message):
            our(problem, class_weight=weight).fit(X, TARGETS[problem])
    with pytest.raises(ValueError, match="class_weight is 'balanced'; partial_fit sees only some examples"):
        our("binary", class_weight="balanced").partial_fit(X, TARGETS["binary"], classes=["no", "yes"])


def test_partial_fit():
    y = TARGETS["binary"]
    with pytest.raises(ValueError, match="classes is None in the first call of partial_fit"):
        our("binary").partial_fit(X, y)
    found = our("binary").partial_fit(X, y, classes=["no", "yes"])
    with pytest.raises(ValueError, match="as in the first call of partial_fit"):
        found.partial_fit(X, y, classes=["no", "yes", "maybe"])
    with pytest.raises(ValueError, match="y has classes .*maybe"):
        found.partial_fit(X, np.full(N, "maybe"))
    with pytest.raises(ValueError, match="early_stopping is True, but partial_fit is a single epoch"):
        our("binary", early_stopping=True).partial_fit(X, y, classes=["no", "yes"])
    assert not hasattr(our("binary", solver="lbfgs"), "partial_fit")
    assert hasattr(our("binary", solver=optax.sgd(0.1)), "partial_fit")


def test_warm_start_goes_on_with_the_same_network():
    found = fitted(our("binary", warm_start=True), X, TARGETS["binary"])
    with pytest.raises(ValueError, match="y has classes .* warm_start expects those of before"):
        found.fit(X, TARGETS["multiclass"])
    with pytest.raises(ValueError, match=r"the fitted network has sizes \(5, 7, 1\), but the new one \(5, 9, 1\)"):
        found.set_params(hidden_layer_sizes=9).fit(X, TARGETS["binary"])


def test_what_is_not_finite_is_named():
    """The error names the step, or the epoch whose last step is to blame; a fitted estimator stays as it was."""
    y = TARGETS["regression"]
    for options, message in (
        ({"solver": "sgd", "learning_rate_init": 1e30, "batch_size": 20}, "not finite at step [2-4] of epoch [12]"),
        ({"solver": optax.sgd(np.inf), "batch_size": N, "max_iter": 1}, "the last step of epoch 1 led to weights"),
    ):
        found = our("regression", warm_start=True, max_iter=1)
        before = fitted(found, X, y).predict(X)
        with pytest.raises(ValueError, match=message):
            fitted(found.set_params(**options), X, y)
        np.testing.assert_array_equal(found.predict(X), before)
    with pytest.raises(ValueError, match="not finite at iteration"):
        our("regression", solver="lbfgs").fit(X * 1e200, y)


def test_a_batch_larger_than_the_data_and_a_split_without_examples():
    with pytest.warns(UserWarning, match="batch_size is 99, above the number of examples, 60: all are one batch"):
        our("binary", batch_size=99, tol=10.0, n_iter_no_change=1).fit(X, TARGETS["binary"])
    with pytest.raises(
        ValueError, match="and the number of examples is 60; expected a fraction that holds out 2 or more"
    ):
        our("regression", early_stopping=True, validation_fraction=0.01).fit(X, TARGETS["regression"])


def test_not_fitted():
    for method in ("predict", "predict_proba", "predict_log_proba", "hidden_activations", "input_gradient"):
        with pytest.raises(NotFittedError):
            getattr(our("binary"), method)(X)
    with pytest.raises(NotFittedError):
        our("regression").input_gradient(X, 0)


def test_an_interrupted_training_is_kept():
    def interrupt(epoch):
        if epoch.number == 3:
            raise KeyboardInterrupt

    found = our("binary", callbacks=[interrupt])
    with pytest.warns(UserWarning, match="training was interrupted; the last whole epoch is kept"):
        found.fit(X, TARGETS["binary"])
    assert found.n_iter_ == 3 and found.predict(X).shape == (N,)


def test_verbose(capsys):
    found = fitted(our("binary", verbose=True, early_stopping=True, n_iter_no_change=1, tol=1.0), X, TARGETS["binary"])
    out = capsys.readouterr().out
    assert f"Iteration 1, loss = {found.loss_curve_[0]:.8f}\nValidation score: " in out
    assert out.endswith("Validation score did not improve by tol=1.000000 for 1 epochs. Stopping.\n")
    adaptive = our("binary", verbose=True, solver="sgd", learning_rate="adaptive", tol=9.0, n_iter_no_change=1)
    fitted(adaptive, X, TARGETS["binary"])
    message = "Training loss did not improve by tol=9.000000 for 1 epochs. Setting learning rate to 0.004"
    assert message in capsys.readouterr().out
    fitted(our("binary", verbose=True, solver="lbfgs"), X, TARGETS["binary"])
    assert capsys.readouterr().out.startswith("L-BFGS: 12 iterations, ")
