"""The checker in float32, in the second order, and against central differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from two_layers import PARAMS, X, Y, check, cost, lines, off, untapped

import manual_bp as bp

NARROW = {name: value.astype(np.float32) for name, value in PARAMS.items()}


def test_float32_inputs_are_judged_in_float64():
    seen = []

    def backward(params, X, Y):
        seen.append(params["W1"].dtype)
        return lines(params, X, Y)

    with jax.enable_x64(False):
        report = check(cost, backward, NARROW, jnp.asarray(X, jnp.float32), Y.astype(np.float32))
        assert jnp.ones(1).dtype == np.float32  # as it was
    assert report.dtype == "float64" and report.verdict == "right" and {*seen} == {np.dtype(np.float64)}


@pytest.mark.parametrize("where", ["in the cost", "backward refuses float64"])
def test_code_that_has_to_run_in_float32(where):
    def cast(params, X, Y, tap):
        return cost({name: p.astype(jnp.float32) for name, p in params.items()}, X.astype(np.float32), Y, tap)

    def refuses(params, X, Y):
        if params["W1"].dtype != np.float32:
            raise TypeError("float32 only")
        return lines(params, X, Y)

    args = X.astype(np.float32), Y.astype(np.float32)
    given = (cast, lines) if where == "in the cost" else (cost, refuses)
    report = check(*given, NARROW, *args)
    assert report.dtype == "float32" and report.verdict == "right"
    wrong = check(given[0], lambda *a: {n: v * 1.001 for n, v in given[1](*a).items()}, NARROW, *args)
    assert wrong.verdict == "wrong"


def test_a_backward_pass_in_float32_is_judged_by_its_own_precision():
    report = check(cost, lambda *a: {n: v.astype(np.float32) for n, v in lines(*a).items()}, PARAMS, X, Y)
    assert report.verdict == "right" and 1e-9 < off(report, "dW1") < 1e-6


def test_second_order():
    in_jax = functools.partial(lines, np=jnp)
    report = check(cost, in_jax, PARAMS, X, Y, order=2)
    assert report.verdict == "right" and off(report, "d(dW1)") < 1e-13
    assert off(check(cost, lines, PARAMS, X, Y, order=2), "d(dW1)") < 1e-8  # NumPy: by central differences

    def stopped(*args):
        return in_jax(*args) | {"dW1": jax.lax.stop_gradient(in_jax(*args)["dW1"])}

    of_both = check(cost, stopped, PARAMS, X, Y, order=2)
    assert [of_both[name].verdict for name in ("dW1", "d(dW1)", "d(dW2)")] == ["right", "wrong", "right"]


def test_the_cost_itself_by_central_differences():
    (note,) = check(cost, lines, PARAMS, X, Y, finite_differences=True).notes
    assert "agree with autodiff within" in note

    def stopped(params, X, Y):
        return untapped(params, X, Y) + jax.lax.stop_gradient(jnp.sum(params["W1"] ** 2))

    report = check(stopped, lines, PARAMS, X, Y, finite_differences=True)
    (note,) = report.notes
    assert report.verdict == "cannot tell" and "differ from autodiff" in note and "stop_gradient" in note


def test_a_step_out_of_the_domain_says_nothing():
    of_log, near = lambda p: jnp.sum(jnp.log(p["a"])), {"a": np.full(3, 1e-2)}
    report = check(of_log, lambda p: {"a": 1 / p["a"]}, near, finite_differences=True)
    assert report.verdict == "right" and "agree with autodiff" in report.notes[0]


@pytest.mark.parametrize("wrong", [None, "dZ1"])
def test_a_pass_in_float32_behind_float64_buffers(wrong):
    def backward(params, X, Y):
        narrow = {name: p.astype(np.float32) for name, p in params.items()}
        make_dZ1 = (lambda dA1, A1: dA1 * (1 - A1)) if wrong else (lambda dA1, A1: dA1 * (1 - A1**2))
        found = lines(narrow, X.astype(np.float32), Y.astype(np.float32), make_dZ1=make_dZ1)
        return {name: line.astype(np.float64) for name, line in found.items()}

    report = check(cost, backward, PARAMS, X, Y)
    assert [line.line for line in report.lines if line.verdict == "wrong"] == ([wrong] if wrong else [])
    assert "exact in a narrower dtype" in report.notes[0]


@pytest.mark.parametrize(
    ("dtype", "power", "verdict"),
    [
        (jnp.float32, 2, "right"),
        (jnp.float32, 1, "wrong"),
        (jnp.bfloat16, 2, "cannot tell"),
        (jnp.bfloat16, 1, "wrong"),
    ],
)
def test_a_rule_that_goes_back_in_a_narrower_dtype(dtype, power, verdict):
    @jax.custom_vjp
    def layer(W, X):
        return jnp.tanh(W @ X)

    def backward(kept, u):
        W, X, A = (x.astype(dtype) for x in kept)
        dZ = u.astype(dtype) * (1 - A**power)
        return (dZ @ X.T).astype(u.dtype), (W.T @ dZ).astype(u.dtype)

    layer.defvjp(lambda W, X: (layer(W, X), (W, X, layer(W, X))), backward)
    report = bp.check_custom_vjp(layer, PARAMS["W1"], X)
    assert report.verdict == verdict
    assert report.dtype == ("float32" if dtype == jnp.float32 else "less than float32")


@pytest.mark.parametrize(
    ("factor_x", "factor_w", "verdicts"),
    [(1, 1, ["right", "right"]), (2, 1, ["wrong", "right"]), (1, 1 / 6, ["right", "wrong"])],
)
def test_a_factor_shows_in_bfloat16(factor_x, factor_w, verdicts):
    """Rounding in bfloat16 may change a line by its own size, but never makes it twice what it should be."""

    def f(x, w):
        return jax.nn.gelu((x.astype(jnp.bfloat16) @ w.astype(jnp.bfloat16)).astype(jnp.float32))

    def bwd(saved, u):
        x, w = (a.astype(jnp.bfloat16) for a in saved)
        d = jax.vjp(jax.nn.gelu, (x @ w).astype(jnp.float32))[1](u)[0].astype(jnp.bfloat16)
        return (factor_x * (d @ w.T)).astype(jnp.float32), (factor_w * (x.T @ d)).astype(jnp.float32)

    rng = np.random.default_rng(0)
    g = jax.custom_vjp(f)
    g.defvjp(lambda x, w: (f(x, w), (x, w)), bwd)
    report = bp.check_custom_vjp(g, *(rng.normal(size=s).astype(np.float32) for s in ((6, 5), (5, 4))))
    assert [line.verdict for line in report.lines] == verdicts


def in_bfloat16(change_out=lambda out, b: out, factor=1.0):
    def f(x, w, b):
        return (x.astype(jnp.bfloat16) @ w.astype(jnp.bfloat16)).astype(jnp.float32) + b

    def bwd(saved, u):
        x, w, d = (a.astype(jnp.bfloat16) for a in (*saved, u))
        return (d @ w.T).astype(jnp.float32), factor * (x.T @ d).astype(jnp.float32), u.sum(0)

    rule = jax.custom_vjp(f)
    rule.defvjp(lambda x, w, b: (change_out(f(x, w, b), b), (x, w)), bwd)
    rng = np.random.default_rng(0)
    return bp.check_custom_vjp(rule, *(rng.normal(size=s).astype(np.float32) for s in ((128, 60), (60, 5), (5,))))


def test_a_zero_line_is_not_within_rounding_in_bfloat16():
    assert in_bfloat16()["dw"].verdict == "right"
    assert in_bfloat16(factor=0.0)["dw"].verdict == "wrong"


@pytest.mark.parametrize("change", [lambda out, b: out - b, lambda out, b: 1.1 * out])
def test_another_output_shows_in_bfloat16(change):
    assert in_bfloat16(change).lines[0].mistake == "another value"


def test_a_factor_is_not_explained_by_a_kink():
    def rule(factor):
        relu = jax.custom_vjp(lambda x: jax.nn.relu(x.astype(jnp.bfloat16)).astype(jnp.float32))
        relu.defvjp(lambda x: (relu(x), x), lambda x, u: (factor * u.astype(jnp.bfloat16).astype(x.dtype) * (x > 0),))
        return bp.check_custom_vjp(relu, np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32))

    assert [rule(factor).verdict for factor in (1, 1.5)] == ["right", "wrong"]


def test_integers_do_not_show_a_narrow_dtype():
    counts, w = np.random.default_rng(0).integers(0, 60, size=(12, 5)).astype(float), np.linspace(1, 2, 12) ** 2

    def verdict(more):
        return bp.check_gradients(lambda w, X: jnp.sum(w @ X), lambda w, X: X.sum(1) + more, w, counts).verdict

    assert [verdict(more) for more in (0, 1)] == ["right", "wrong"]
