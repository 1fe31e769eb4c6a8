"""Mistakes in the path through one equation of a function, named by the user's own line."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import manual_bp as bp
from manual_bp.checker.diagnose.function_terms import _renamed

RNG = np.random.default_rng(4)
X, W, B = RNG.normal(size=(3, 5)), RNG.normal(size=5), RNG.normal(size=5)


def layer_norm(x, w, b):
    mu = jnp.mean(x, -1, keepdims=True)
    var = jnp.mean((x - mu) ** 2, -1, keepdims=True)
    return (x - mu) * jax.lax.rsqrt(var + 1e-5) * w + b


def layer_norm_rule(mean=1.0, variance=1.0, noise=0.0, weight=lambda w: w):
    def rule(x, w, b, u):
        centred = x - jnp.mean(x, -1, keepdims=True)
        r = jax.lax.rsqrt(jnp.mean(centred**2, -1, keepdims=True) + 1e-5)
        hat, G = centred * r, u * weight(w)
        through_variance = hat * jnp.mean(G * hat, -1, keepdims=True)
        dx = (G - mean * jnp.mean(G, -1, keepdims=True) - variance * through_variance) * r
        return dx + noise * u * jnp.cos(7 * x), jnp.sum(u * hat, 0), jnp.sum(u, 0)

    return rule


def rms_norm(x, w):
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6) * w


def rms_norm_rule(second):
    def rule(x, w, u):
        r = jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6)
        s = jnp.sum(u * x * w, -1, keepdims=True) / x.shape[-1]
        return u * w * r - second(r**3 * x * s, w), jnp.sum(u * x * r, 0)

    return rule


def damped_sine(x):
    decay = jnp.exp(-x)
    return decay * jnp.sin(x)


def attention(q, k, v):
    p = jax.nn.softmax(q @ k.T, axis=-1)
    return p @ v


def attention_rule(diagonal_only):
    def rule(q, k, v, u):
        p = jax.nn.softmax(q @ k.T, axis=-1)
        dp = u @ v.T
        ds = p * (dp if diagonal_only else dp - jnp.sum(p * dp, -1, keepdims=True))
        return ds @ k, ds.T @ q, p.T @ u

    return rule


def decaying_sum(a, x):
    def step(s, x_t):
        s = a * s + x_t
        return s, s

    return jax.lax.scan(step, jnp.zeros(()), x)[1]


def decaying_sum_rule(a, x, u):
    s = jnp.concatenate([jnp.zeros(1), decaying_sum(a, x)[:-1]])
    return jnp.sum(u * s), u  # the derivative is not carried


def check(f, rule, *args):
    """Check f with a rule that gets the arguments and the cotangent."""
    g = jax.custom_vjp(f)
    g.defvjp(lambda *args: (f(*args), args), lambda args, u: rule(*args, u))
    return bp.check_custom_vjp(g, *args)


def line_of(f, code):
    """The source of a piece of code in a function, as a report writes it."""
    lines, first = inspect.getsourcelines(f)
    (offset,) = (i for i, line in enumerate(lines) if code in line)
    return f"`{code}` (line {first + offset} of test_paths.py"


MEAN = "mu = jnp.mean(x, -1, keepdims=True)"
VARIANCE = "var = jnp.mean((x - mu) ** 2, -1, keepdims=True)"


@pytest.mark.parametrize(
    "factors, mistake, codes, facts",
    [
        ({"mean": 0.0}, "missing term", [MEAN], ["is missing: it is taken as a constant"]),
        ({"variance": 0.0}, "missing term", [VARIANCE], ["is missing: it is taken as a constant"]),
        ({"variance": 2.0}, "factor 2", [VARIANCE], ["is 2 times what it should be"]),
        ({"mean": -1.0}, "wrong sign", [MEAN], ["has the wrong sign"]),
        ({"variance": 5.0}, "factor n_l", [VARIANCE], ["5 is the length of an axis: a division by 5 is missing"]),
        ({"mean": 0.0, "variance": 0.0}, "missing term", [MEAN, VARIANCE], ["; and "]),
    ],
)
def test_the_mean_and_the_variance_of_a_layer_norm(factors, mistake, codes, facts):
    line = check(layer_norm, layer_norm_rule(**factors), X, W, B)["dx"]
    assert line.mistake == mistake
    for expected in [*(line_of(layer_norm, code) for code in codes), *facts]:
        assert expected in line.diagnosis


def test_what_no_path_explains_stays_unknown():
    report = check(layer_norm, layer_norm_rule(noise=1e-3), X, W, B)
    assert [line.mistake for line in report.lines] == ["unknown", None, None]


def test_another_value_in_place_of_a_factor():
    line = check(layer_norm, layer_norm_rule(weight=lambda w: B), X, W, B)["dx"]
    assert line.mistake == "another value" and "b is used in place of w" in line.diagnosis


@pytest.mark.parametrize(
    "second, mistake, code",
    [
        (lambda term, w: 0 * term, "missing term", "jnp.mean(x * x, -1, keepdims=True)"),
        (lambda term, w: w * term, "factor twice", "x * x"),
    ],
)
def test_the_second_term_of_an_rms_norm(second, mistake, code):
    report = check(rms_norm, rms_norm_rule(second), X, W)
    assert report["dx"].mistake == mistake and line_of(rms_norm, code) in report["dx"].diagnosis
    assert report["dw"].verdict == "right"


def test_one_of_two_uses_is_forgotten():
    line = check(damped_sine, lambda x, u: (u * jnp.exp(-x) * jnp.cos(x),), X)["dx"]
    expected = line_of(damped_sine, "decay = jnp.exp(-x)")
    assert line.mistake == "missing term" and f"the path through {expected}" in line.diagnosis


def test_the_sum_of_a_softmax():
    q, k, v = RNG.normal(size=(3, 3, 2))
    report = check(attention, attention_rule(diagonal_only=True), q, k, v)
    assert [report[name].mistake for name in ("dq", "dk", "dv")] == ["missing term", "missing term", None]
    assert "jax.nn.softmax(q @ k.T, axis=-1)" in report["dq"].diagnosis
    assert check(attention, attention_rule(diagonal_only=False), q, k, v).verdict == "right"


def test_a_value_that_is_not_carried_back_in_a_loop():
    report = check(decaying_sum, decaying_sum_rule, jnp.asarray(0.7), X[0])
    assert {line.mistake for line in report.lines} == {"missing term"}
    assert "the carried value through " + line_of(decaying_sum, "a * s") in report["dx"].diagnosis


def test_a_cost_without_taps():
    """Tied weights, of which one share is returned: no dZ, since there is none."""

    def cost(params, X):
        return jnp.sum((jnp.tanh(X @ params["W"]) @ params["W"].T - X) ** 2)

    def decoder_only(params, X):
        A = np.tanh(X @ params["W"])
        return {"W": 2 * (A @ params["W"].T - X).T @ A}

    line = bp.check_gradients(cost, decoder_only, {"W": RNG.normal(size=(5, 2))}, X)["dW"]
    assert line.mistake == "missing term" and "the contribution of W through `X @ params" in line.diagnosis
    assert "Z" not in line.diagnosis + line.suggestion


def test_no_name_that_the_checker_made_up():
    def cost(params, X):
        return jnp.sum((jnp.tanh(X @ params["W"]) @ params["W"].T - X) ** 2)

    def difference(params, X):
        W, A = params["W"], np.tanh(X @ params["W"])
        D = 2 * (A @ W.T - X)
        return {"W": X.T @ (D @ W * (1 - A**2)) - D.T @ A}

    line = bp.check_gradients(cost, difference, {"W": RNG.normal(size=(5, 2))}, X)["dW"]
    assert line.mistake == "wrong sign" and "`" in line.diagnosis and "_" not in line.diagnosis


def test_a_value_called_a_is_no_article():
    renamed = _renamed("da * (1 - a) is taken as a constant", {"a": "`f(x)`"})
    assert renamed == "the derivative by `f(x)` * (1 - `f(x)`) is taken as a constant"
