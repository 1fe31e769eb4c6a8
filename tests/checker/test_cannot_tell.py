"""The cases in which the checker says neither right nor wrong, with its reasons."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from two_layers import PARAMS, X, Y, check, cost, lines, untapped, verdicts

import manual_bp as bp


def test_zero_gradient():
    dead, relu = PARAMS | {"b1": np.full((6, 1), -100.0)}, functools.partial(untapped, g=jax.nn.relu)
    report = check(relu, jax.grad(relu), dead, X, Y)
    assert verdicts(report) == {"dW2": "cannot tell", "db2": "right", "dW1": "cannot tell", "db1": "cannot tell"}
    assert report.verdict == "cannot tell" and "zero" in report["dW1"].diagnosis
    one = check(relu, lambda p, X, Y: jax.grad(relu)(p, X, Y) | {"W1": np.ones((6, 4))}, dead, X, Y)
    assert one["dW1"].verdict == "wrong"


def test_units_at_a_kink():
    """relu'(0) = 1 is not a mistake, but must not hide one."""
    params = PARAMS | {"b1": np.zeros((6, 1))}
    with_zero, targets = np.c_[X, np.zeros(4)], np.c_[Y, np.ones(3)]

    relu = functools.partial(cost, g=jax.nn.relu)

    def backward(params, X, Y, sign=1):
        Z1 = params["W1"] @ X + params["b1"]
        dZ2 = 2 * (params["W2"] @ np.maximum(Z1, 0) + params["b2"] - Y) / X.shape[1]
        dZ1 = params["W2"].T @ dZ2 * (Z1 >= 0)
        return {"dZ1": dZ1, "db1": sign * dZ1.sum(axis=1, keepdims=True)}

    report = check(relu, backward, params, with_zero, targets)
    assert verdicts(report) == dict.fromkeys(["dZ1", "db1"], "cannot tell")
    assert "6 units are at a kink" in report["dZ1"].diagnosis
    wrong = check(relu, functools.partial(backward, sign=-1), params, with_zero, targets)
    assert verdicts(wrong) == {"dZ1": "cannot tell", "db1": "wrong"} and wrong["db1"].mistake == "wrong sign"


def test_below_the_resolution():
    """At a minimum the outputs and the targets cancel up to rounding, and no program gets a digit of the rest right."""

    def fit(params, X, Y):
        return jnp.sum((jnp.tanh(params["W1"] @ X) - Y) ** 2)

    def backward(params, X, Y):
        up, down = np.exp(params["W1"] @ X), np.exp(-(params["W1"] @ X))
        A = (up - down) / (up + down)
        return {"dW1": (2 * (A - Y) * (1 - A * A)) @ X.T}

    targets = np.tanh(PARAMS["W1"] @ X) * (1 + 1e-13)
    report = check(fit, backward, PARAMS, X, targets)
    assert report["dW1"].verdict == "cannot tell" and "below the resolution" in report["dW1"].diagnosis
    assert check(fit, backward, PARAMS, X, targets + 1e-3)["dW1"].verdict == "right"


def test_zero_by_cancellation():
    """A shift that is removed again has a gradient of zero, up to rounding."""

    def shifted(params, X):
        Z = params["W1"] @ X + params["b1"]
        return jnp.mean(jnp.tanh(Z - Z.mean(axis=1, keepdims=True)) ** 2)

    params = {name: PARAMS[name] for name in ("W1", "b1")}
    report = check(shifted, lambda *args: jax.grad(shifted)(*args) | {"b1": np.zeros((6, 1))}, params, X)
    assert verdicts(report) == {"dW1": "right", "db1": "cannot tell"}


def test_the_cost_does_not_depend_on_it():
    report = check(lambda p: jnp.sum(p["a"] ** 2), lambda p: {"a": 2 * p["a"], "u": 0 * p["u"]}, {"a": X, "u": Y})
    assert report.verdict == "right"


def test_a_tie_of_the_maximum():
    def backward(params, X):
        Z = params["W1"] @ X
        return {"W1": (Z == Z.max(axis=0)) @ X.T}

    report = check(lambda p, X: jnp.sum(jnp.max(p["W1"] @ X, axis=0)), backward, {"W1": np.zeros((6, 4))}, X)
    assert report["dW1"].verdict == "cannot tell"


def of_two(g, params, X):
    return jnp.sum(g(params["a"])) + jnp.sum(params["b"] ** 2)


def test_non_finite():
    root, params = functools.partial(of_two, jnp.sqrt), {"a": np.zeros(3), "b": np.ones(4)}
    report = check(root, lambda p, X: {"da": np.full(3, np.inf), "db": 2 * p["b"]}, params, X)
    assert verdicts(report) == {"da": "cannot tell", "db": "right"}
    assert "not finite" in report["da"].diagnosis
    nan = check(root, lambda p, X: {"db": np.array([2.0, 2, np.nan, 2])}, params, X)["db"]
    assert (nan.verdict, nan.mistake) == ("wrong", "non-finite") and "[2]" in nan.diagnosis


def test_a_cost_of_nan():
    params = {"a": np.array([-1.0, 1.0]), "b": np.ones(4)}
    report = check(functools.partial(of_two, jnp.log), lambda p, X: {"db": 2 * p["b"]}, params, X)
    assert report["db"].verdict == "right" and report.notes[0] == "the cost is nan here"


def test_not_deterministic():
    rng = np.random.default_rng(0)
    noisy = check(cost, lambda *a: {"dW1": lines(*a)["dW1"] + rng.normal(), "dW2": lines(*a)["dW2"]}, PARAMS, X, Y)
    assert verdicts(noisy) == {"dW2": "right", "dW1": "cannot tell"}
    assert "backward is not deterministic" in noisy["dW1"].diagnosis
    dropout = check(lambda p, X, Y: untapped(p, X + rng.normal(size=X.shape), Y), lines, PARAMS, X, Y)
    assert dropout.verdict == "cannot tell" and "the cost is not deterministic" in dropout["dW1"].diagnosis


@pytest.mark.parametrize("place", ["a number", "an array in a jit", "an array in a loop", "a callback"])
def test_where_a_cost_can_differ(place):
    rng = np.random.default_rng(0)

    def noisy(p):
        if place == "a number":
            return jnp.sum(p) * rng.normal()
        if place == "an array in a jit":
            return jax.jit(lambda p: jnp.sum(p * rng.normal(size=p.shape)))(p)
        if place == "an array in a loop":
            return jax.lax.scan(lambda c, x: (c + jnp.sum(x * rng.normal(size=7)), None), 0.0, p)[0]
        noise = jax.pure_callback(lambda: rng.normal(), jax.ShapeDtypeStruct((), np.float64))
        return jnp.sum(p) * jax.lax.stop_gradient(noise)

    report = bp.check_gradients(noisy, lambda p: 3 * p, X)
    assert report.verdict == "cannot tell" and "not deterministic" in report["dp"].diagnosis


def test_a_line_in_whose_array_another_was_computed():
    """dZ1 = dA1; dZ1 *= g' loses dA1. Without g', where dZ1 is dA1, it is dZ1 that is wrong."""

    def backward(in_place, params, X, Y):
        found = lines(params, X, Y)
        dZ1, A1 = found["dA1"], np.tanh(params["W1"] @ X + params["b1"])
        if in_place:
            dZ1 *= 1 - A1**2
        return found | {"dZ1": dZ1, "dW1": dZ1 @ X.T, "db1": dZ1.sum(axis=1, keepdims=True)}

    report = check(cost, functools.partial(backward, True), PARAMS, X, Y)
    assert report.verdict == "right" and "dA1" not in verdicts(report) and "return dA1.copy()" in report.notes[0]
    report = check(cost, functools.partial(backward, False), PARAMS, X, Y)
    assert report["dA1"].verdict == "right" and report["dZ1"].mistake == "missing g'"


def test_central_differences_that_disagree_leave_no_line_wrong():
    @jax.custom_vjp
    def rounded(x):
        return jnp.round(4 * x) / 4

    rounded.defvjp(lambda x: (rounded(x), None), lambda _, u: (u,))
    report = bp.check_gradients(lambda p: jnp.sum(rounded(p) ** 2), lambda p: 3 * p, X, finite_differences=True)
    assert report.verdict == "cannot tell" and "central differences" in report["dp"].diagnosis
