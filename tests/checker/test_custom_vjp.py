"""The rule of a function against autodiff of the function, by check_custom_vjp."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import manual_bp as bp

RNG = np.random.default_rng(0)
W, B, X = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 1)), RNG.normal(size=(3, 6))


def layer(rule):
    """Make tanh(W x + b) with the backward rule rule(W, x, a, cotangent)."""

    @jax.custom_vjp
    def f(W, b, x):
        return jnp.tanh(W @ x + b)

    f.defvjp(lambda W, b, x: (a := f(W, b, x), (W, x, a)), lambda kept, cotangent: rule(*kept, cotangent))
    return f


def from_dZ(make):
    def rule(W, x, a, cotangent):
        dZ = make(a, cotangent)
        return dZ @ x.T, jnp.sum(dZ, axis=1, keepdims=True), W.T @ dZ

    return rule


right_rule = from_dZ(lambda a, u: u * (1 - a * a))
right = layer(right_rule)


@pytest.mark.parametrize("f", [right, jax.jit(right), lambda W, b, x: {"out": 2 * right(W, b, x)}])
def test_right(f):
    report = bp.check_custom_vjp(f, W, B, X)
    assert report.verdict == "right" and {line.line for line in report.lines} == {"dW", "db", "dx"}
    assert "random cotangent" in report.notes[0]


def test_a_mistake_between_is_told_by_the_code_of_the_function():
    report = bp.check_custom_vjp(layer(from_dZ(lambda a, u: u)), W, B, X)
    assert {(line.line, line.mistake) for line in report.lines} == {(n, "missing g'") for n in ("dW", "db", "dx")}
    assert "the derivative by `W @ x + b` equals dout" in report["dW"].diagnosis
    assert report["dW"].suggestion == "dW = (dout * (1 - out**2)) @ x.T"
    assert "dZ" not in str(report)


def test_one_wrong_argument():
    def rule(*args):
        dW, db, dx = right_rule(*args)
        return dW, -db, dx

    report = bp.check_custom_vjp(layer(rule), W, B, X)
    assert {line.line: line.verdict for line in report.lines} == {"dW": "right", "db": "wrong", "dx": "right"}
    assert report["db"].mistake == "wrong sign"


@pytest.mark.parametrize(
    "make, mistake",
    [
        (lambda a, u: 1 - a * a, "cotangent forgotten"),
        (lambda a, u: u * jnp.abs(u) * (1 - a * a), "not linear in the cotangent"),
    ],
)
def test_a_rule_that_misuses_its_cotangent(make, mistake):
    report = bp.check_custom_vjp(layer(from_dZ(make)), W, B, X)
    assert {line.mistake for line in report.lines} == {mistake}


def test_none_for_an_argument_is_zero():
    report = bp.check_custom_vjp(layer(lambda *args: (*right_rule(*args)[:2], None)), W, B, X)
    assert (report["dx"].mistake, report["dx"].suggestion) == ("zero", "dx = W.T @ (dout * (1 - out**2))")


def test_several_outputs_static_and_integer_arguments():
    @functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
    def f(power, params, index):
        return params["w"][index] ** power, jnp.sum(params["w"])

    def backward(wrong, power, kept, cotangents):
        w, index = kept
        dw = jnp.zeros_like(w).at[index].add(cotangents[0] * power * w[index] ** (power - 1 + wrong)) + cotangents[1]
        return {"w": dw}, None

    params, index = {"w": RNG.normal(size=5)}, jnp.array([0, 2, 2])

    def forward(power, params, index):
        return f(power, params, index), (params["w"], index)

    for wrong, verdict in ((0, "right"), (1, "wrong")):
        f.defvjp(forward, functools.partial(backward, wrong))
        for call, args in ((f, (3, params, index)), (functools.partial(f, 3), (params, index))):
            report = bp.check_custom_vjp(call, *args)
            assert [(line.line[-1], line.verdict) for line in report.lines] == [("w", verdict)]


def test_without_autodiff_by_central_differences():
    @jax.custom_vjp
    def kernel(x):
        return jax.pure_callback(lambda x: np.sinh(x), jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    x = RNG.normal(size=7)
    mistakes = {"right": jnp.cosh, "factor 2": lambda x: 2 * jnp.cosh(x), "unknown": jnp.sinh}
    for mistake, rule in mistakes.items():
        kernel.defvjp(lambda x: (kernel(x), x), lambda x, u, rule=rule: (u * rule(x),))
        report = bp.check_custom_vjp(kernel, x)
        assert report.truth == "central differences" and (report["dx"].mistake or report.verdict) == mistake
        assert "not possible" in report.notes[0]


@pytest.mark.parametrize("rule, verdict", [(lambda x, u: 2 * u * x, "right"), (lambda x, u: 3 * u * x, "wrong")])
def test_a_rule_inside_a_loop(rule, verdict):
    """Autodiff of the loop would use the rule, so central differences judge it."""

    @jax.custom_vjp
    def square(x):
        return x**2

    square.defvjp(lambda x: (x**2, x), lambda x, u: (rule(x, u),))
    report = bp.check_custom_vjp(lambda x: jax.lax.map(square, x), RNG.normal(size=4))
    assert report.verdict == verdict and "inside a loop" in report.notes[0]


def test_a_forward_pass_of_another_value():
    g = jax.custom_vjp(lambda W, x: W @ x)
    g.defvjp(lambda W, x: (W @ x + 1e-3, (W, x)), lambda kept, u: (u @ kept[1].T, kept[0].T @ u))
    report = bp.check_custom_vjp(g, W, X)
    assert report.verdict == "wrong" and report["out"].mistake == "another value"


@pytest.mark.parametrize(
    "error, message, args",
    [
        (ValueError, "no custom_vjp in it", (jnp.tanh, X)),
        (ValueError, "no floating-point output", (lambda W, b, x: jnp.argmax(right(W, b, x)), W, B, X)),
        (TypeError, "needs the arguments", (right,)),
        (TypeError, r"a floating-point array among them, such as jnp.asarray\(1.0\); got float", (right, 1.0)),
        (TypeError, "f must be a function with a jax.custom_vjp in it; got float", (1.0, X)),
    ],
)
def test_refused(error, message, args):
    with pytest.raises(error, match=message):
        bp.check_custom_vjp(*args)


def scaled_norm(rule):
    """Make w x / |x| with the rule rule(w, x, |x|, cotangent)."""

    @jax.custom_vjp
    def f(w, x):
        return w * x / jnp.linalg.norm(x)

    f.defvjp(lambda w, x: (f(w, x), (w, x, jnp.linalg.norm(x))), lambda kept, u: rule(*kept, u))
    return f


def right_norm(w, x, n, u):
    return u * x / n, (w * u - x * jnp.sum(w * u * x) / n**2) / n


def swapped(w, x, n, u):
    dw, _ = right_norm(w, x, n, u)
    return dw, (w * x - u * jnp.sum(w * u * x) / jnp.sum(u * u)) / n


def w_left_out_of_the_sum(w, x, n, u):
    return u * x / n, (w * u - x * jnp.sum(u * x) / n**2) / n


def clipped(w, x, n, u):
    return right_norm(w, x, n, jnp.clip(u, -10, 10))


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("rule", [right_norm, swapped, w_left_out_of_the_sum, clipped])
def test_wherever_the_arguments_come_from(rule, number):
    """Arguments drawn as the cotangent might be, a weight of ones, and a cotangent that is not clipped hide nothing."""
    x = np.random.default_rng(number).normal(size=(4, 3))
    report = bp.check_custom_vjp(scaled_norm(rule), np.ones((4, 3)), x)
    assert report.verdict == ("right" if rule is right_norm else "wrong")
    if rule is w_left_out_of_the_sum:
        assert "wrong for a cotangent 30 times as large, and with w moved" in report.notes[0]
    if rule is clipped:
        assert report["dw"].mistake == report["dx"].mistake == "not linear in the cotangent"


def test_no_line_may_be_transposed():
    matmul = jax.custom_vjp(lambda A, B: A @ B)
    matmul.defvjp(lambda A, B: (A @ B, (A, B)), lambda kept, u: (kept[1] @ u.T, u.T @ kept[0]))
    report = bp.check_custom_vjp(matmul, RNG.normal(size=(4, 4)), RNG.normal(size=(4, 4)))
    assert {line.mistake for line in report.lines} == {"transposed"} and not report.conventions


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "right"), (0.0, "right"), (3.0, "wrong")])
def test_a_python_number_has_a_line_unless_its_derivative_is_zero(factor, verdict):
    power = jax.custom_vjp(lambda x, c: c * x**2)
    power.defvjp(
        lambda x, c: (c * x**2, (x, c)), lambda kept, u: (2 * kept[1] * kept[0] * u, factor * jnp.sum(u * kept[0] ** 2))
    )
    report = bp.check_custom_vjp(power, RNG.normal(size=5), 0.7)
    assert report.verdict == verdict and len(report.lines) == 1 + (factor != 0)


def test_units_at_a_kink():
    """A rule is right in another way there; the lines are those of the place to which the units are moved."""
    for slope, verdict in ((1.0, "cannot tell"), (2.0, "wrong")):
        relu = jax.custom_vjp(lambda x: jnp.maximum(x, 0))
        relu.defvjp(lambda x: (jnp.maximum(x, 0), x), lambda x, u, slope=slope: (slope * u * (x > 0),))
        report = bp.check_custom_vjp(relu, np.maximum(RNG.normal(size=(4, 8)), 0))
        assert report.verdict == verdict


@pytest.mark.parametrize("factor", [1.0, 2.0])
@pytest.mark.parametrize("follows_rule", [True, False])
def test_a_rule_inside_the_cost_is_not_the_truth(factor, follows_rule):
    scaled = jax.custom_vjp(lambda W: 3 * jnp.sin(W))
    scaled.defvjp(lambda W: (3 * jnp.sin(W), W), lambda W, u: (factor * 3 * u * jnp.cos(W),))

    def backward(params, X):
        A = 3 * np.sin(params["W"])
        return {"dW": (factor if follows_rule else 1.0) * 6 * (A @ X) @ X.T * np.cos(params["W"])}

    report = bp.check_gradients(lambda p, X: jnp.sum((scaled(p["W"]) @ X) ** 2), backward, {"W": W}, X)
    if factor == 1:
        assert report.verdict == "right"
    elif follows_rule:
        assert report.verdict == "cannot tell" and "check_custom_vjp" in report["dW"].diagnosis
    else:
        assert (report.verdict, report["the rule"].verdict, report["dW"].verdict) == ("wrong", "wrong", "right")


def test_assert_custom_vjp():
    bp.assert_custom_vjp(right, W, B, X)
    kink = jax.custom_vjp(jnp.abs)
    kink.defvjp(lambda x: (jnp.abs(x), x), lambda x, u: (u * jnp.sign(x),))
    with pytest.raises(bp.checker.WrongGradient, match="^wrong: ") as of_wrong:
        bp.assert_custom_vjp(layer(from_dZ(lambda a, u: u)), W, B, X)
    with pytest.raises(AssertionError, match="could not be verified") as of_doubt:
        bp.assert_custom_vjp(kink, np.array([0.0, 1.0]))
    for caught in (of_wrong, of_doubt):
        assert [entry.name for entry in caught.traceback.filter(caught)] == ["test_assert_custom_vjp"]
