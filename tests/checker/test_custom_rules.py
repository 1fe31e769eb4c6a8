"""Rules of other kinds: with a surrogate, of a custom_jvp, of second order, in NumPy, with keys and masks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled_programs import taken

import manual_bp as bp

X = np.random.default_rng(0).normal(size=(4, 3))


def with_rule(f, rule, forward=None):
    """Make f with the backward rule rule(arguments, cotangent)."""
    g = jax.custom_vjp(f)
    g.defvjp(lambda *args: ((forward or f)(*args), args), rule)
    return g


def test_a_right_rule_compiles_two_programs():
    """One by the rule and one by autodiff serve both points, because the cotangent is an argument of each."""
    norm = with_rule(
        lambda w, x: w * jnp.tanh(x), lambda args, u: (u * jnp.tanh(args[1]), u * args[0] / jnp.cosh(args[1]) ** 2)
    )
    # JAX compiles the filling of an array of this shape once
    bp.check_custom_vjp(with_rule(jnp.add, lambda args, u: (u, u)), X, X + 1)
    before = taken[0]
    assert bp.check_custom_vjp(norm, np.ones((4, 3)), X).verdict == "right"
    assert taken[0] - before == 2


def straight_through(factor=1.0, forward=None):
    return with_rule(lambda x: jnp.round(x), lambda args, u: (factor * u,), forward)


def clip_by(limit):
    return with_rule(lambda x: x, lambda args, u: (jnp.clip(u, -limit, limit),))


def detached(x):
    return x + jax.lax.stop_gradient(jnp.round(x) - x)


@pytest.mark.parametrize(
    ("f", "surrogate", "verdict"),
    [
        (straight_through(), lambda x: x, "right"),
        (straight_through(2.0), lambda x: x, "factor 2"),
        (straight_through(forward=lambda x: x), lambda x: x, "another value"),
        (detached, lambda x: x, "right"),
        (with_rule(lambda x: x, lambda args, u: (-u,)), lambda x: -x, "right"),
        (with_rule(lambda x: x, lambda args, u: (u,)), lambda x: -x, "wrong sign"),
        (clip_by(0.5), clip_by(0.5), "right"),
        (clip_by(0.6), clip_by(0.5), "not linear in the cotangent"),
    ],
)
def test_surrogate(f, surrogate, verdict):
    report = bp.check_custom_vjp(f, 3 * X, surrogate=surrogate)
    assert (report.lines[0].mistake or report.verdict) == verdict


@pytest.mark.parametrize(
    ("f", "step"),
    [
        (lambda x: jnp.round(x), "round"),
        (lambda x: jnp.where(x > 0, 1.0, -1.0), "a comparison"),
        (lambda x: x.astype(jnp.int8).astype(x.dtype), "a conversion to integers"),
        (lambda x: jnp.round(x) + 0.1 * x, None),
    ],
)
def test_a_rounding_makes_the_true_gradient_zero(f, step):
    report = bp.check_custom_vjp(with_rule(f, lambda args, u: (u,)), 3 * X)
    assert report.verdict == "wrong" and (report["dx"].mistake == "zero by rounding") == (step is not None)
    assert step is None or f"only what {step} gives" in report["dx"].diagnosis


def test_a_hand_written_pass_of_a_rounding_cost():
    report = bp.check_gradients(lambda p: jnp.sum(jnp.round(p) ** 2), lambda p: 2 * np.round(p), 3 * X)
    assert report["dp"].mistake == "zero by rounding"


@jax.custom_jvp
def product(x, y):
    return x * y


@pytest.mark.parametrize(
    ("tangent", "mistakes"),
    [
        (lambda x, y, dx, dy: dx * y + x * dy, {"dx": None, "dy": None}),
        (lambda x, y, dx, dy: dx * y - x * dy, {"dx": None, "dy": "wrong sign"}),
        (lambda x, y, dx, dy: dx * y, {"dx": None, "dy": "zero"}),
        (lambda x, y, dx, dy: dx * y + x * dy + 0.01, {"the rule": "not linear in the tangents"}),
        (lambda x, y, dx, dy: dx * y + x * jnp.where(x > 9, abs(dy), dy), {"the rule": "not linear in the tangents"}),
    ],
)
def test_a_custom_jvp(tangent, mistakes):
    product.defjvp(lambda primals, tangents: (product(*primals), tangent(*primals, *tangents)))
    report = bp.check_custom_vjp(lambda x, y: product(x, y), X, X + 1)
    assert {line.line: line.mistake for line in report.lines} == mistakes


@pytest.mark.parametrize(("kept", "verdict"), [(lambda x: x, "right"), (jax.lax.stop_gradient, "wrong")])
def test_the_rule_differentiated_once_more(kept, verdict):
    sine = jax.custom_vjp(jnp.sin)
    sine.defvjp(lambda x: (sine(x), kept(x)), lambda x, u: (u * jnp.cos(x),))
    report = bp.check_custom_vjp(sine, X, order=2)
    assert report["dx"].verdict == "right" and report["d(dx)"].verdict == verdict


def dropout(x, key):
    return x * jax.random.bernoulli(key, 0.5, x.shape)


@pytest.mark.parametrize("key", [jax.random.key, jax.random.PRNGKey])
def test_keys_and_masks(key):
    def masked(args, u):
        return jnp.where(jax.random.bernoulli(args[1], 0.5, u.shape), u, 0), None

    assert bp.check_custom_vjp(with_rule(dropout, masked), X, key(0)).verdict == "right"
    assert bp.check_custom_vjp(with_rule(dropout, lambda args, u: (u, None)), X, key(0)).verdict == "wrong"
    select = with_rule(lambda x, mask: jnp.where(mask, x, 0), lambda args, u: (jnp.where(args[1], u, 0), None))
    assert bp.check_custom_vjp(select, X, X > 0).verdict == "right"


def test_outputs_that_have_no_cotangent():
    def f(x):
        return {"y": x**2, "at": jnp.argmax(x), "none": None, "mask": x > 0, "key": jax.random.key(0)}

    for factor, verdict in ((2, "right"), (1, "wrong")):
        rule = with_rule(f, lambda args, u, factor=factor: (factor * args[0] * u["y"],))
        assert bp.check_custom_vjp(rule, X).verdict == verdict


def test_values_that_are_not_numbers():
    report = bp.check_custom_vjp(with_rule(jnp.sin, lambda args, u: (u * jnp.cos(args[0]),)), np.array([1.0, np.nan]))
    assert report.verdict == "cannot tell" and "not finite" in report["dx"].diagnosis


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "right"), (2.0, "wrong")])
def test_a_rule_in_numpy(factor, verdict):
    sine = jax.custom_vjp(jnp.sin)
    sine.defvjp(
        lambda x: (jnp.asarray(np.sin(np.asarray(x))), np.asarray(x)),
        lambda x, u: (factor * np.asarray(u) * np.cos(x),),
    )
    assert bp.check_custom_vjp(sine, X).verdict == verdict


@pytest.mark.parametrize(
    ("rule", "forward", "part"),
    [
        (lambda args, u: (u @ args[0],), None, "the rule raised TypeError at `"),
        (lambda args, u: (u, None), None, "JAX refuses"),
        (lambda args, u: (u,), lambda x: jnp.sin(x)[0], "must have the same shapes"),
    ],
)
def test_a_rule_that_jax_refuses(rule, forward, part):
    report = bp.check_custom_vjp(with_rule(jnp.sin, rule, forward), X)
    assert report.verdict == "wrong" and part in report["the rule"].diagnosis


@pytest.mark.parametrize(
    ("error", "message", "f", "options"),
    [
        (TypeError, "surrogate must be a function", straight_through(), {"surrogate": X}),
        (ValueError, "must have the same shapes", straight_through(), {"surrogate": jnp.sum}),
        (TypeError, "complex output", lambda x: x * 1j, {}),
        (ValueError, "order must be 1, or 2", straight_through(), {"order": 3}),
        (TypeError, "JAX cannot trace f, .*write jnp for np", lambda x: np.sin(np.asarray(x)), {}),
        (
            ValueError,
            "JAX cannot differentiate f, even with its rule",
            lambda x: jax.pure_callback(np.sin, jax.ShapeDtypeStruct(X.shape, X.dtype), straight_through()(x)),
            {},
        ),
    ],
)
def test_refused(error, message, f, options):
    with pytest.raises(error, match=message):
        bp.check_custom_vjp(f, X, **options)


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "right"), (1.1, "wrong")])
def test_a_kernel_in_float32(factor, verdict):
    def kernel(x):
        return jax.pure_callback(lambda x: np.sin(x).astype(np.float32), jax.ShapeDtypeStruct(x.shape, np.float32), x)

    rule = with_rule(kernel, lambda args, u: (factor * u * jnp.cos(args[0]),))
    report = bp.check_custom_vjp(rule, X.astype(np.float32))
    assert (report.verdict, report.truth, report.dtype) == (verdict, "central differences", "float32")


@pytest.mark.parametrize("low", [-1e4, -1e15, -1e30, np.finfo(np.float64).min, -np.inf])
def test_a_mask_of_huge_numbers_hides_no_mistake(low):
    """They say nothing about how near the other elements are to a kink, and are not moved."""

    def attention(s, mask):
        return jax.nn.softmax(s + mask)

    def rule(args, u, sign=1.0, used=1.0):
        p = attention(*args)
        d = sign * p * (u - used * (p * u).sum(axis=-1, keepdims=True))
        return d, d

    mask = np.where(np.random.default_rng(1).random((4, 3)) < 0.7, 0.0, low)
    assert bp.check_custom_vjp(with_rule(attention, rule), X, mask).verdict == "right"
    assert (
        bp.check_custom_vjp(with_rule(attention, functools.partial(rule, sign=-1.0)), X, mask)["dout"].mistake
        == "wrong sign"
    )
    forgotten = bp.check_custom_vjp(with_rule(attention, functools.partial(rule, used=0.0)), X, mask)
    assert "along axis 1 is missing" in forgotten["ds"].diagnosis


def test_a_mask_in_low_precision():
    """The maximum of softmax is that of -inf and the rest, which is no kink."""
    dtype, keep = jnp.bfloat16, np.random.default_rng(1).random((4, 3)) < 0.7

    def attention(s, mask):
        return jax.nn.softmax(s.astype(dtype) + mask.astype(dtype)).astype(jnp.float32)

    def rule(args, u):
        p = attention(*args)
        d = (2 * p * (u - (p * u).sum(axis=-1, keepdims=True))).astype(dtype).astype(args[0].dtype)
        return d, d

    assert bp.check_custom_vjp(with_rule(attention, rule), X, np.where(keep, 0.0, -1e4)).verdict == "wrong"
