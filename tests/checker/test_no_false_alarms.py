"""Right programs of kinds that were once called wrong, and mistakes beside them that must not be called right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import manual_bp as bp

RNG = np.random.default_rng(4)
x, w = np.array([0.3, -1.2, 0.7]), np.array([0.0, 1.0, 0.4])


def with_rule(f, rule):
    g = jax.custom_vjp(f)
    g.defvjp(lambda *args: (f(*args), args), rule)
    return g


def without_nan(x, w):
    return jnp.where(w != 0, w * x, 0.0)


@pytest.mark.parametrize("factor", [1, 2])
def test_a_value_at_a_threshold_of_equality(factor):
    """Where w is 0, autodiff's derivative by w is 0, and not x."""
    rule = with_rule(without_nan, lambda args, u: (u * args[1], factor * u * args[0]))
    report = bp.check_custom_vjp(rule, x, w)
    assert report["dw"].verdict == ("cannot tell" if factor == 1 else "wrong")
    cost, backward = (lambda w, x: jnp.sum(without_nan(x, w))), (lambda w, x: {"dw": factor * x})
    assert bp.check_gradients(cost, backward, w, x).verdict == report["dw"].verdict
    off = bp.check_gradients(cost, backward, w + 1, x)
    assert off.verdict == ("right" if factor == 1 else "wrong")


@pytest.mark.parametrize("factor", [1, 2])
def test_leaves_that_are_no_arrays(factor):
    """A module holds its activation, and None for a bias that it does not have."""
    params = {"layers": [{"W": RNG.normal(size=(3, 2)), "b": None, "g": jnp.tanh}], "scale": np.array(2.0)}

    def cost(params, X):
        (layer,) = params["layers"]
        return jnp.sum(layer["g"](X @ layer["W"]) ** 2) * params["scale"]

    def backward(params, X):
        (layer,) = params["layers"]
        A = np.tanh(X @ layer["W"])
        dW = factor * params["scale"] * X.T @ (2 * A * (1 - A**2))
        return {"layers": [{"W": dW, "b": None, "g": None}], "scale": np.sum(A**2)}

    report = bp.check_gradients(cost, backward, params, RNG.normal(size=(4, 3)))
    assert report.verdict == ("right" if factor == 1 else "wrong") and report["dscale"].verdict == "right"


@pytest.mark.parametrize("factor", [1, 2])
def test_a_rule_of_custom_jvp_gets_arrays_of_jax(factor):
    @jax.custom_jvp
    def norm(x):
        return jnp.sqrt(jnp.sum(x**2))

    @norm.defjvp
    def _(primals, tangents):
        assert isinstance(primals[0], jax.Array)
        return norm(*primals), factor * primals[0].at[:].get() @ tangents[0] / norm(*primals)

    assert bp.check_custom_vjp(norm, x).verdict == ("right" if factor == 1 else "wrong")


def test_a_rule_of_custom_jvp_in_numpy():
    @jax.custom_jvp
    def three_times(x):
        return 3 * x

    three_times.defjvp(lambda primals, tangents: (3 * np.asarray(primals[0]), 3 * tangents[0]))
    assert bp.check_custom_vjp(three_times, x).verdict == "right"


@pytest.mark.parametrize(("off", "verdict"), [(0, "right"), (2e-11, "cannot tell"), (1e-8, "wrong")])
def test_a_difference_smaller_than_any_mistake(off, verdict):
    """The function may be a series, and its rule the derivative of what it approximates."""
    rule = with_rule(jnp.tanh, lambda args, u: (u * (1 - jnp.tanh(args[0]) ** 2) * (1 + off),))
    report = bp.check_custom_vjp(rule, x)
    assert report.verdict == verdict and (verdict != "cannot tell" or "approximation" in report["dx"].diagnosis)


@pytest.mark.parametrize("factor", [1, 2])
def test_a_scan_that_carries_float32(factor):
    """JAX as it comes makes float32 of NumPy's float64, so that this works for its user."""
    with jax.enable_x64(False):
        start = jnp.zeros(3)

        def last(W, xs):
            carried = start, jnp.ones(3)
            return jax.lax.scan(lambda c, x: ((jnp.tanh(W @ c[0] + x), c[0]), None), carried, xs)[0][0]

        W, xs = RNG.normal(size=(3, 3)), RNG.normal(size=(4, 3))
        by_autodiff = jax.grad(lambda W, xs: factor * jnp.sum(last(W, xs)))
        report = bp.check_gradients(lambda W, xs: jnp.sum(last(W, xs)), lambda W, xs: {"dW": by_autodiff(W, xs)}, W, xs)
        assert report.verdict == ("right" if factor == 1 else "wrong") and report.dtype == "float32"
        rule = with_rule(last, lambda args, u: jax.vjp(last, *args)[1](factor * u))
        assert bp.check_custom_vjp(rule, W, xs).verdict == report.verdict


@pytest.mark.parametrize(("factor", "verdict"), [(1, "right"), (1.0005, "wrong")])
@pytest.mark.parametrize("given", [np.float32, np.float64])
def test_float32_inside_a_pass_that_returns_float64(given, factor, verdict):
    """NumPy makes float64 of a float32 array times a float64 scalar, and then no value shows the rounding."""

    def backward(params, X):
        A = np.tanh(X.astype(np.float32) @ params["W"].astype(np.float32))
        dA = 2 * A * np.float64(1 / 3) * factor
        return {"W": X.T @ (dA * (1 - A * A))}

    X = RNG.normal(size=(4, 3)).astype(given)
    report = bp.check_gradients(
        lambda params, X: jnp.sum(jnp.tanh(X @ params["W"]) ** 2) / 3,
        backward,
        {"W": RNG.normal(size=(3, 2)).astype(given)},
        X,
    )
    assert report.verdict == verdict and any("float32 inside" in note for note in report.notes)


def huber(r):
    return jnp.where(jnp.abs(r) <= 1, r**2 / 2, jnp.abs(r) - 0.5)


@pytest.mark.parametrize(("slope", "verdict"), [(1, "right"), (2, "wrong")])
def test_a_mistake_that_is_hidden_at_a_kink(slope, verdict):
    """Where a residual is 1, only the inner formula of Huber's loss is used."""

    def prime(r):
        return jnp.where(jnp.abs(r) <= 1, r, slope * jnp.sign(r))

    p, Y = np.array([1.5, 0.2, 0.75]), np.array([0.5, 0.3, 1.75])
    report = bp.check_gradients(lambda p, Y: jnp.sum(huber(p - Y)), lambda p, Y: {"dp": prime(p - Y)}, p, Y)
    assert report.verdict == verdict and (verdict == "right" or "at a kink" in report.notes[0])
    rule = with_rule(huber, lambda args, u: (u * prime(args[0]),))
    assert bp.check_custom_vjp(rule, p - Y).verdict == verdict
    assert bp.check_custom_vjp(rule, np.array([1.0, 0.0, -1.0])).verdict == verdict


def test_labels_that_a_rule_is_meant_for():
    """For labels of 0 and 1, p - y is right; for others, it is not the derivative of this function."""

    def entropy(z, y):
        return jnp.where(y == 1, jax.nn.softplus(-z), jax.nn.softplus(z))

    z = np.array([0.3, -1.2, 0.7])
    rule = with_rule(entropy, lambda args, u: (u * (jax.nn.sigmoid(args[0]) - args[1]), 0 * u))
    report = bp.check_custom_vjp(rule, z, np.array([0.0, 1.0, 1.0]))
    assert report.verdict == "cannot tell" and "meant for them only" in report["dz"].diagnosis


@pytest.mark.parametrize("factor", [2, 3])
def test_a_rule_of_custom_jvp_in_a_cost(factor):
    @jax.custom_jvp
    def square(x):
        return x**2

    square.defjvp(lambda primals, tangents: (square(*primals), factor * primals[0] * tangents[0]))

    def cost(p):
        return jnp.sum(jax.nn.softplus(square(p)))

    report = bp.check_gradients(cost, jax.grad(cost), x)
    assert report.verdict == ("right" if factor == 2 else "cannot tell")
    report = bp.check_gradients(cost, lambda p: 2 * p * jax.nn.sigmoid(p**2), x)
    assert report.verdict == ("right" if factor == 2 else "wrong")
    if factor == 3:
        assert report["the rule"].mistake == "rule" and "a custom_jvp" in report["the rule"].diagnosis
        assert report["dp"].verdict == "right"


def test_equal_steps_hide_a_mistake():
    """With equal steps in each row of z, a loss that lacks the maximum is off by the same in each row."""
    z, ids = np.arange(9.0).reshape(3, 3) / 4, np.array([2, 1, 1])

    def losses(z, top):
        return jnp.log(jnp.sum(jnp.exp(z - top), axis=1)) + z.max(axis=1) - z[jnp.arange(3), ids]

    def cost(w, z):
        return jnp.sum(w * losses(z, z.max(axis=1, keepdims=True))) / jnp.sum(w)

    report = bp.check_gradients(cost, lambda w, z: jax.grad(lambda w: w @ losses(z, z) / jnp.sum(w))(w), w + 1, z)
    assert report.verdict == "cannot tell" and "z is moved" in report["dw"].diagnosis
    assert bp.check_gradients(cost, jax.grad(cost), w + 1, z).verdict == "right"


def test_an_argument_of_zeros_that_a_pass_leaves_out():
    report = bp.check_gradients(lambda a, y: jnp.sum((a - y) ** 2), lambda a, y: {"da": 2 * a}, x, 0 * x)
    assert report.verdict == "cannot tell" and "y is moved" in report["da"].diagnosis
    line = 2 * x
    before = bp.check_gradients(lambda a, y: jnp.sum((a - y) ** 2), lambda a, y: {"da": line}, x, 0 * x)
    assert before.verdict == "right"  # computed before
