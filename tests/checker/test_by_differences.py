"""Costs that autodiff cannot take are judged by central differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from two_layers import PARAMS, X, Y, gradient, untapped

import manual_bp as bp


def in_numpy(params, X, Y):
    A1 = np.tanh(params["W1"] @ X + params["b1"])
    return np.mean(np.sum((params["W2"] @ A1 + params["b2"] - Y) ** 2, axis=0))


def with_float(params, X, Y):
    return float(untapped(params, X, Y))


def with_while_loop(params, X, Y):
    return jax.lax.while_loop(lambda s: s[1] < 1, lambda s: (untapped(params, X, Y), s[1] + 1), (jnp.zeros(()), 0))[0]


def with_callback(params, X, Y):
    scalar = jax.ShapeDtypeStruct((), np.float64)
    return jax.pure_callback(
        lambda *args: np.asarray(in_numpy(jax.tree.map(np.asarray, args[0]), *args[1:])), scalar, params, X, Y
    )


COSTS = {
    "with a callback": with_callback,
    "in NumPy": in_numpy,
    "with float()": with_float,
    "with a while_loop": with_while_loop,
}


@pytest.mark.parametrize("cost", COSTS.values(), ids=COSTS)
def test_right(cost):
    report = bp.check_gradients(cost, gradient, PARAMS, X, Y)
    assert report.verdict == "right" and report.truth == "central differences" and len(report.lines) == 4
    assert max(line.global_error or 0 for line in report.lines) < 1e-9
    bp.assert_gradients_match(cost, gradient, PARAMS, X, Y)


MISTAKES = {
    "wrong sign": lambda d: -d,
    "missing 1/m": lambda d: 7 * d,
    "extra 1/m": lambda d: d / 7,
    "factor 2": lambda d: d / 2,
    "zero": lambda d: 0 * d,
    "wrong shape": lambda d: d[:, :1],
    "unknown": lambda d: d + 1e-5 * (np.arange(d.size).reshape(d.shape) == 3),
    "raised": lambda d: d @ d,
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_wrong(mistake):
    def backward(params, X, Y):
        found = gradient(params, X, Y)
        dW1 = MISTAKES[mistake](found["W1"])
        return found | {"W1": dW1}

    report = bp.check_gradients(in_numpy, backward, PARAMS, X, Y)
    assert report.verdict == "wrong"
    assert [line.mistake for line in report.lines if line.verdict == "wrong"] == [mistake]


def solve(stop, bisect, a):
    """Solve y**3 + y = a, where autodiff cannot follow: by bisection, or slowly by damped steps of Newton's method."""

    def halve(state):
        low, high = state
        y = (low + high) / 2
        return jnp.where(y**3 + y < a, y, low), jnp.where(y**3 + y < a, high, y)

    if bisect:
        return sum(jax.lax.while_loop(lambda s: jnp.max(s[1] - s[0]) > stop, halve, (0 * a - 3, 0 * a + 3))) / 2
    state = jax.lax.while_loop(
        lambda s: jnp.max(abs(s[1])) > stop,
        lambda s: (y := s[0] - 0.7 * s[1] / (3 * s[0] ** 2 + 1), y**3 + y - a),
        (0 * a, -a),
    )
    return state[0]


@pytest.mark.parametrize(
    ("stop", "bisect", "one", "verdict"),
    [
        (1e-8, True, 1.0, "right"),
        (1e-8, True, 1.01, "wrong"),
        (1e-5, True, 1.001, "cannot tell"),  # hidden by the noise
        (1e-5, False, 1.0, "cannot tell"),
        (1e-5, False, 1.01, "wrong"),
    ],
)
def test_a_solver_that_stops_early(stop, bisect, one, verdict):
    root = jax.custom_vjp(functools.partial(solve, stop, bisect))
    root.defvjp(lambda a: (y := solve(stop, bisect, a), y), lambda y, u: (u / (3 * y**2 + one),))
    assert bp.check_custom_vjp(root, np.array([0.3, -1.2, 0.7])).verdict == verdict


def test_transposed():
    W = np.random.default_rng(0).normal(size=(4, 4))
    report = bp.check_gradients(lambda W, X: np.sum((W @ X) ** 2), lambda W, X: (2 * W @ X @ X.T).T, W, X)
    assert report.lines[0].mistake == "transposed"


def test_what_differences_cannot_tell():
    at_a_kink = bp.check_gradients(lambda w: np.sum(np.maximum(w, 0)), lambda w: 1.0 * (w > 0), np.array([0.0, 1.0]))
    assert at_a_kink.verdict == "cannot tell" and "at a kink" in at_a_kink["dw"].diagnosis
    flat = bp.check_gradients(lambda w: float(np.sum(0 * w)), lambda w: 0 * w, np.ones(3))
    assert flat.verdict == "cannot tell" and "is zero" in flat["dw"].diagnosis
    of_a_node = bp.check_gradients(in_numpy, lambda *args: {"dW1": gradient(*args)["W1"], "dZ1": X}, PARAMS, X, Y)
    assert of_a_node["dZ1"].verdict == "cannot tell" and of_a_node["dW1"].verdict == "right"
    second = bp.check_gradients(in_numpy, gradient, PARAMS, X, Y, order=2)
    assert second["dW1"].verdict == "right" and second["d(dW1)"].verdict == "cannot tell" == second.verdict


def test_a_tapped_line_is_not_judged():
    def in_numpy(params, X, tap):
        return np.sum(np.square(tap("Z", params["W"] @ X)))

    def backward(params, X):
        Z = params["W"] @ X
        return {"dZ": 2 * Z, "dW": 2 * Z @ X.T}

    report = bp.check_gradients(in_numpy, backward, {"W": np.ones((2, 3))}, np.arange(12.0).reshape(3, 4))
    assert [(line.line, line.verdict) for line in report.lines] == [("dW", "right"), ("dZ", "cannot tell")]
    assert "only the lines of parameters" in report["dZ"].diagnosis and "Write jnp for np" in report.notes[0]


@pytest.mark.parametrize("size", [1e-9, 1e-4, 1e9])
def test_steps_are_relative_to_the_parameter(size):
    """The discharge of a capacitor: a step of 0.1 is far too long for one of 1 nF."""
    t = size * np.linspace(0.2, 3, 9)
    y = np.exp(-t / (1.2 * size))

    def discharge(C, t, y, xp=np):
        return xp.mean((xp.exp(-t / C) - y) ** 2)

    def back(C, t, y, times=1):
        e = np.exp(-t / C)
        return times * np.mean(2 * (e - y) * e * t / C**2)

    for times, verdict in ((1, "right"), (2, "wrong")):
        backward = functools.partial(back, times=times)
        assert bp.check_gradients(discharge, backward, np.float64(size), t, y).verdict == verdict
        in_jax = functools.partial(discharge, xp=jnp)
        report = bp.check_gradients(in_jax, backward, np.float64(size), t, y, finite_differences=True)
        assert report.verdict == verdict

    def of_both(p, t, y):
        return discharge(p[0] * p[1], t, y)

    def both(p, t, y, times=1):
        d = back(p[0] * p[1], t, y)
        return np.array([d * p[1], times * d * p[0]])

    p = np.array([1e3, size / 1e3])
    assert bp.check_gradients(of_both, both, p, t, y).verdict == "right"
    assert bp.check_gradients(of_both, functools.partial(both, times=2), p, t, y).verdict == "wrong"


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_tiny_and_huge_derivatives(size):
    def in_numpy(w, x):
        return size * float(np.sum(np.sin(w * x)))

    w, x = X[0], X[1]
    assert bp.check_gradients(in_numpy, lambda w, x: size * np.cos(w * x) * x, w, x).verdict == "right"
    assert bp.check_gradients(in_numpy, lambda w, x: size * np.cos(w * x), w, x).verdict == "wrong"


@pytest.mark.parametrize(
    ("stop", "one", "verdict"), [(1e-4, 1, "cannot tell"), (1e-4, 1.1, "wrong"), (1e-10, 1, "right")]
)
def test_a_solver_in_numpy_that_stops_early(stop, one, verdict):
    def fixed_point(a):
        y, before = 0 * a, 1
        while np.max(abs(y - before)) > stop:
            y, before = a * np.cos(y) / 2, y
        return y

    def backward(a):
        y = fixed_point(a)
        return y * np.cos(y) / (one + a * np.sin(y) / 2)

    a = np.array([0.3, -1.2, 0.7])
    report = bp.check_gradients(lambda a: np.sum(fixed_point(a) ** 2), backward, a)
    assert report.verdict == verdict and ("iterate longer" in report["da"].diagnosis) == (verdict == "cannot tell")
