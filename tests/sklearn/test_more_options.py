"""The features that the estimators have beyond scikit-learn's."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import if_deep
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn_problems import CLASSIFICATION, SCORES, TARGETS, WEIGHTS, N, X, fitted, our, weights

import manual_bp as bp
from manual_bp._activations import activation_backward
from manual_bp.sklearn import MLPClassifier
from manual_bp.sklearn._losses import REGRESSION
from manual_bp.sklearn._outputs import BLOCK


@pytest.mark.parametrize("loss", REGRESSION)
def test_losses_and_their_derivatives(loss):
    """Agrees with autodiff, also where the loss is matched with the output activation."""
    cost, output, _ = REGRESSION[loss]
    network = bp.Network((1, 1), output=output, cost=cost)
    rng = np.random.default_rng(1)
    Z, Y = jnp.asarray(2 * rng.normal(size=(3, 8))), jnp.asarray(np.floor(5 * rng.uniform(size=(3, 8))))

    def total(Z, Y):
        return jnp.sum(network.cost.loss(network.output.g(Z), Y))

    A = network.output.g(Z)
    expected = jax.grad(lambda A: jnp.sum(network.cost.loss(A, Y)))(A)
    np.testing.assert_allclose(network.cost.dA(A, Y), expected, rtol=1e-12, atol=1e-14)
    ones = jnp.ones_like(A)
    np.testing.assert_allclose(
        activation_backward(network.output, ones, Z, A), jax.vjp(network.output.g, Z)[1](ones)[0]
    )
    if pair := network.cost.matched:
        np.testing.assert_allclose(pair.loss(Z, Y), network.cost.loss(A, Y), rtol=1e-12)
        np.testing.assert_allclose(pair.dZ(Z, A, Y), jax.grad(total)(Z, Y), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(pair.dY(Z, Y + 1), jax.grad(total, 1)(Z, Y + 1), rtol=1e-10, atol=1e-12)


def test_losses_are_what_their_names_say():
    A, Y = jnp.asarray([[1.5, -3.0], [0.0, 2.0]]), jnp.asarray([[1.0, 1.0], [0.0, 0.0]])
    for name, expected in {"squared_error": [0.125, 10.0], "absolute_error": [0.5, 6.0], "huber": [0.125, 5.0]}.items():
        network = bp.Network((1, 2), output="identity", cost=REGRESSION[name].cost)
        np.testing.assert_allclose(network.cost.loss(A, Y), expected, err_msg=name)


@pytest.mark.parametrize(
    "loss", ["absolute_error", "huber", bp.Cost(*map(REGRESSION["huber"].cost.__getattribute__, ("loss", "dA")))]
)
def test_other_losses_are_learnt(loss):
    found = our("several outputs", loss=loss, max_iter=400, tol=0.01).fit(X, SCORES)
    assert found.score(X, SCORES) > 0.6 and found.predict(X).shape == SCORES.shape


@pytest.mark.parametrize("problem", ["binary", "multiclass"])
@pytest.mark.parametrize("solver", ["sgd", "lbfgs", if_deep("adam")])
def test_class_weights_multiply_sample_weights(problem, solver):
    y = TARGETS[problem]
    classes, index = np.unique(y, return_inverse=True)
    by_class = dict(zip(classes.tolist(), (3.0, 0.5, 1.0), strict=False))
    balanced = np.sum(WEIGHTS) / (len(classes) * np.bincount(index, WEIGHTS))
    for class_weight, factor in ((by_class, [by_class[c] for c in classes.tolist()]), ("balanced", balanced)):
        found = fitted(our(problem, solver=solver, class_weight=class_weight), X, y, WEIGHTS)
        expected = fitted(our(problem, solver=solver), X, y, WEIGHTS * np.array(factor)[index])
        np.testing.assert_allclose(weights(found), weights(expected), rtol=1e-9)
    some = our(problem, solver="sgd", class_weight={classes.tolist()[1]: 2.0})
    some.partial_fit(X[index == 0], y[index == 0], classes=classes)
    assert np.isfinite(some.loss_)


@pytest.mark.parametrize("problem", TARGETS)
@pytest.mark.parametrize("weighted", [False, True])
def test_validation_data(problem, weighted):
    """Loss (without penalty) and score are recorded after each epoch; early_stopping watches them, with no split."""
    X_val, y, w = X + 0.1, TARGETS[problem], WEIGHTS if weighted else None
    data = (X_val, y, w) if weighted else (X_val, y)
    found = fitted(our(problem, alpha=1.0), X, y, validation_data=data)
    assert len(found.validation_loss_curve_) == len(found.validation_scores_) == found.n_iter_
    assert found.validation_scores_[-1] == pytest.approx(found.score(X_val, y, w))
    assert found.best_validation_score_ == max(found.validation_scores_)
    if problem in ("binary", "multiclass"):
        rows = np.arange(N), np.searchsorted(found.classes_, y)
        expected = -np.average(found.predict_log_proba(X_val)[rows], weights=w)
        assert found.validation_loss_curve_[-1] == pytest.approx(expected)
    elif problem != "multilabel":
        A, Y = (np.reshape(x, (N, -1)).T for x in (found.predict(X_val), y))
        cost: Any = REGRESSION["poisson" if problem == "poisson" else "squared_error"].cost
        loss = cost.loss(A, Y)
        assert found.validation_loss_curve_[-1] == pytest.approx(np.average(loss, weights=w))
    np.testing.assert_array_equal(weights(found), weights(fitted(our(problem, alpha=1.0), X, y)))
    stopped = our(problem, early_stopping=True, n_iter_no_change=1, max_iter=200, tol=0.1)
    stopped.fit(X, y, validation_data=data)
    assert stopped.t_ == N * stopped.n_iter_ < 200 * N
    assert stopped.score(X_val, y, w) == pytest.approx(stopped.best_validation_score_)


@pytest.mark.parametrize("problem", ["multiclass", "regression"])
def test_warm_start_keeps_the_optimizer_and_the_history(problem):
    for options in ({"solver": "adam"}, {"solver": "sgd"}, {"solver": optax.adam(0.02)}):
        both = our(problem, warm_start=True, shuffle=False, max_iter=6, **options)
        fitted(fitted(both, X, TARGETS[problem]), X, TARGETS[problem])
        once = fitted(our(problem, shuffle=False, max_iter=12, **options), X, TARGETS[problem])
        np.testing.assert_allclose(weights(both), weights(once), rtol=1e-12)
        assert both.loss_curve_ == pytest.approx(once.loss_curve_) and both.t_ == once.t_


def test_warm_start_with_another_solver_starts_its_state_anew():
    found = fitted(our("binary", warm_start=True), X, TARGETS["binary"])
    before, loss = weights(found), found.loss_
    fitted(found.set_params(solver="sgd", max_iter=40), X, TARGETS["binary"])
    assert not np.array_equal(weights(found), before) and found.loss_ < loss
    fitted(found.set_params(solver="lbfgs"), X, TARGETS["binary"])
    assert len(found.loss_curve_) == found.n_iter_


def test_any_optimizer_of_optax():
    """The gradient is scikit-learn's, so optax's sgd takes its steps; a norm can bound them, a schedule lead them."""
    expected = fitted(our("multiclass", solver="sgd", momentum=0.0), X, TARGETS["multiclass"])
    found = fitted(our("multiclass", solver=optax.sgd(0.02)), X, TARGETS["multiclass"])
    np.testing.assert_allclose(weights(found), weights(expected), rtol=1e-9)
    clipped = our("multiclass", solver=optax.sgd(1.0), max_gradient_norm=1e-3, shuffle=False, max_iter=1)
    start = weights(our("multiclass", solver=optax.sgd(0.0)).partial_fit(X, TARGETS["multiclass"], classes=[4, 5, 6]))
    clipped.partial_fit(X, TARGETS["multiclass"], classes=[4, 5, 6])
    assert np.linalg.norm(weights(clipped) - start) == pytest.approx(1e-3)
    same: Any = clone(clipped)
    assert same.solver == clipped.solver and hash(same.solver) == hash(clipped.solver), "it would compile again"
    rate = optax.inject_hyperparams(optax.sgd)(optax.exponential_decay(0.1, 1, 0.5))
    found = fitted(our("multiclass", solver=rate, max_iter=3), X, TARGETS["multiclass"])
    np.testing.assert_allclose(found.history_.learning_rate, [0.1, 0.05, 0.025])


def test_an_activation_for_each_layer():
    """The last one is the user's own; with the same one everywhere it is the same network."""
    relu = bp.Activation(jax.nn.relu, lambda Z, A: (Z > 0) * 1.0)
    one, same, other = (
        fitted(our("binary", hidden_layer_sizes=(7, 6), activation=g), X, TARGETS["binary"])
        for g in ("relu", ["relu", relu], ("leaky_relu", "logistic"))
    )
    np.testing.assert_allclose(weights(one), weights(same), rtol=1e-12)
    assert not np.allclose(weights(one), weights(other))
    for names in (("elu", "softplus"), ("silu", "gelu")):
        found = our("binary", hidden_layer_sizes=(7, 6), activation=names, max_iter=300, tol=1e-3).fit(
            X, TARGETS["binary"]
        )
        assert found.score(X, TARGETS["binary"]) > 0.8


def test_dropout():
    """Dropout acts in training alone and follows from the seed; a rate of 0 changes nothing."""
    y, layers = TARGETS["binary"], {"hidden_layer_sizes": (7, 6)}
    one, again, other, none = (
        fitted(our("binary", **layers, **options), X, y)
        for options in ({"dropout": 0.3}, {"dropout": 0.3}, {"dropout": (0.0, 0.3)}, {"dropout": (0.0, 0.0)})
    )
    np.testing.assert_array_equal(weights(one), weights(again))
    assert not np.allclose(weights(one), weights(other)) and not np.allclose(weights(one), weights(none))
    np.testing.assert_array_equal(weights(none), weights(fitted(our("binary", **layers), X, y)))
    np.testing.assert_array_equal(one.predict_proba(X), one.predict_proba(X))


def test_dtypes():
    y = TARGETS["binary"]
    exact = fitted(our("binary"), X, y)
    narrow, low = (fitted(our("binary", dtype="float32", compute_dtype=d), X, y) for d in (None, "bfloat16"))
    assert {w.dtype for w in narrow.coefs_ + low.coefs_} == {np.dtype("float32")}
    for found, tolerance in ((narrow, 1e-5), (low, 0.1)):
        error = np.abs(weights(found) - weights(exact)).max()
        assert 0 < error < tolerance


def test_device():
    found = fitted(our("binary", device="cpu"), X, TARGETS["binary"])
    np.testing.assert_array_equal(weights(found), weights(fitted(our("binary"), X, TARGETS["binary"])))
    with pytest.raises(ValueError, match="device is 'abacus'; expected a platform that JAX has here"):
        our("binary", device="abacus").fit(X, TARGETS["binary"])


def test_callbacks_and_history():
    """Callbacks are called after every epoch, and one can end training."""
    seen: list[bp.Epoch] = []
    callbacks = [lambda epoch: epoch.number == 4, seen.append]
    found = our("regression", callbacks=callbacks).fit(X, TARGETS["regression"])
    assert [epoch.number for epoch in seen] == [1, 2, 3, 4] and found.n_iter_ == 4
    np.testing.assert_array_equal(seen[-1].state.params[0].W.T, found.coefs_[0])
    history = found.history_
    assert history.cost is found.loss_curve_ and len(history) == 4
    assert history.learning_rate == [0.02] * 4 and min(history.gradient_norm) > 0 and min(history.seconds) > 0
    adaptive = our("regression", solver="sgd", learning_rate="adaptive", tol=10.0, n_iter_no_change=1)
    assert fitted(adaptive, X, TARGETS["regression"]).history_.learning_rate[3:6] == pytest.approx([0.004, 0.004, 8e-4])


def test_progress(capsys):
    pytest.importorskip("rich")
    found = fitted(our("binary", progress=True, warm_start=True), X, TARGETS["binary"])
    assert "12/12" in capsys.readouterr().out
    fitted(found, X, TARGETS["binary"])
    assert "24/24" in capsys.readouterr().out


@pytest.mark.parametrize("problem", TARGETS)
def test_input_gradient(problem):
    """Agrees with central differences of predict and predict_proba."""
    found = fitted(our(problem, activation="tanh", solver="lbfgs"), X, TARGETS[problem])
    outputs: Any = found.predict_proba if problem in CLASSIFICATION else found.predict
    h, steps = 1e-6, np.eye(X.shape[1])
    expected = np.stack([(outputs(X + h * e) - outputs(X - h * e)) / (2 * h) for e in steps], axis=-1)
    gradient = found.input_gradient(X)
    np.testing.assert_allclose(gradient, expected[:, 1] if problem == "binary" else expected, atol=1e-8)
    labels = found.classes_ if problem in CLASSIFICATION else range(found.n_outputs_)
    for k, label in enumerate(labels):
        wanted = expected if expected.ndim == 2 else expected[:, k]
        np.testing.assert_allclose(found.input_gradient(X, label), wanted, atol=1e-8)
    with pytest.raises(ValueError, match="output is"):
        found.input_gradient(X, 17)


def test_hidden_activations():
    found = fitted(our("multiclass", hidden_layer_sizes=(7, 6), activation="tanh"), X, TARGETS["multiclass"])
    first, second = found.hidden_activations(X)
    np.testing.assert_allclose(first, np.tanh(X @ found.coefs_[0] + found.intercepts_[0]), rtol=1e-12)
    np.testing.assert_allclose(second, np.tanh(first @ found.coefs_[1] + found.intercepts_[1]), rtol=1e-12)


def test_outputs_of_many_examples_are_computed_in_blocks():
    found = fitted(our("regression"), X, TARGETS["regression"])
    many = np.tile(X, (BLOCK // N + 2, 1))
    expected = np.tile(found.predict(X), len(many) // N)
    np.testing.assert_allclose(found.predict(many), expected, rtol=1e-12)
    np.testing.assert_allclose(found.predict(csr_array(many)), expected, rtol=1e-12)


def test_saturated_probabilities_have_finite_logarithms():
    for problem in CLASSIFICATION:
        found = fitted(our(problem), X, TARGETS[problem])
        found.coefs_[-1] = found.coefs_[-1] * 1e6
        logs, probabilities = found.predict_log_proba(X), found.predict_proba(X)
        assert np.isfinite(logs).all() and (probabilities == 0).any()
        np.testing.assert_allclose(np.exp(logs), probabilities, atol=1e-12)


def test_no_hidden_layer():
    found = MLPClassifier((), max_iter=400, learning_rate_init=0.05).fit(X, TARGETS["multiclass"])
    assert found.score(X, TARGETS["multiclass"]) > 0.7 and found.hidden_activations(X) == []
