"""Diagnoses from the values of one line: factors, softmax and norms, order, parts, places, constants."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import manual_bp as bp
from reference.checker_proof.beyond_dense.norms import with_rule

rng = np.random.default_rng(61)
x, y, ids = rng.normal(size=(5, 7)), rng.uniform(0.2, 2, size=(5, 7)), np.array([2, 0, 2, 1, 2])
cube, mask, few = rng.normal(size=(3, 3, 4)), rng.uniform(size=(5, 7)) < 0.6, rng.normal(size=(3, 7))
sigmoid, gelu = jax.nn.sigmoid, jax.nn.gelu


def _mean(x, m):
    return (x * m).sum(axis=1) / m.sum(axis=1)


def _rms(x, w):
    return w * x / jnp.sqrt(jnp.mean(x * x, axis=1, keepdims=True) + 1e-4)


def _rms_back(x, w, u, axis: int | tuple[int, ...] = 1, factor=1.0):
    n, d = _rms(x, 1.0), u * w
    r = 1 / jnp.sqrt(jnp.mean(x * x, axis=1, keepdims=True) + 1e-4)
    return r * (d - factor * n * jnp.mean(d * n, axis=axis, keepdims=True)), (u * n).sum(axis=0)


W = rng.normal(size=7)
# the function, its arguments, a wrong rule for the first of them, and words of the diagnosis
RULES = {
    "exp' is x": (jnp.exp, (x,), lambda u, x: u * x, "multiplied by x, not by out"),
    "log' is missing": (jnp.log, (y,), lambda u, x: u, "the factor 1 / x is missing"),
    "exact gelu'": (
        lambda x: gelu(x), (x,),
        lambda u, x: u * jax.vjp(lambda x: gelu(x, approximate=False), x)[1](jnp.ones_like(x))[0],
        r"gelu'\(x\) in the exact form, not by gelu'\(x\) in the tanh form",
    ),
    "another factor": (lambda x, y: x * y, (x, y), lambda u, x, y: u * y * y, "twice|factor y too many"),
    "silu' is the sigmoid": (
        lambda x, y: jax.nn.silu(x) * y, (x, y), lambda u, x, y: u * y * sigmoid(x), r"not by y \* silu'\(x\)",
    ),
    "the mask of a mean": (
        _mean, (x, mask * 1.0), lambda u, x, m: u[:, None] / m.sum(axis=1)[:, None] + 0 * x, "exactly where m is False",
    ),
    "x**3 without 3": (lambda x: x**3, (x,), lambda u, x: u * x**2, "1/3"),
    "a number of the cost": (
        lambda x: jnp.tanh(x) / 0.7, (x,), lambda u, x: u * (1 - jnp.tanh(x) ** 2), "0.7 is a number",
    ),
    "log-softmax's mean": (
        lambda x: jax.nn.log_softmax(x), (x,),
        lambda u, x: u - jax.nn.softmax(x) * u.mean(axis=1, keepdims=True), "the mean of dout along axis 1 is used",
    ),
    "softmax over the rows": (
        lambda x: jax.nn.softmax(x), (x,),
        lambda u, x: (lambda P: P * (u - (P * u).sum(axis=0)))(jax.nn.softmax(x)),
        "summed over axis 0, not along axis 1",
    ),
    "a norm over both axes": (
        _rms, (x, W), lambda u, x, w: _rms_back(x, w, u, (0, 1))[0], r"axes \(0, 1\), not over axis 1",
    ),
    "a norm's half term": (_rms, (x, W), lambda u, x, w: _rms_back(x, w, u, 1, 0.5)[0], "through `x \\* x`"),
    "shifted": (lambda x: 2 * x, (x,), lambda u, x: 2 * jnp.roll(u, 1, axis=1), "one place later.* along axis 1"),
    "flipped": (lambda x: 2 * x, (x,), lambda u, x: 2 * u[::-1], "in reverse order along axis 0"),
    "sorted": (lambda x: jnp.sort(x, axis=1), (x,), lambda u, x: u, "another order along axis 1"),
    "axes": (lambda x: 2 * x, (cube,), lambda u, x: 2 * u.transpose(1, 0, 2), "axes 0 and 1 are exchanged"),
    "not transposed": (
        lambda x: jnp.cumsum(x, axis=1), (x,), lambda u, x: jnp.cumsum(u, axis=1), "not through its transpose",
    ),
    "set for add": (
        lambda x, i: x[i], (few, ids),
        lambda u, x, i: jnp.zeros_like(x).at[i].set(u), "only the last .* where i repeats",
    ),
    "a row forgotten": (
        lambda x, i: x[i], (few, ids),
        lambda u, x, i: jnp.zeros_like(x).at[i].add(u.at[3].set(0)), "index 3 of axis 0 is missing",
    ),
    "rows": (
        lambda x: jnp.sin(x), (x,), lambda u, x: (u * jnp.cos(x)).at[1:3].multiply(0.3 * x[1:3]), "in rows 1:3",
    ),
    "pooled to all": (lambda x: x.max(axis=1), (x,), lambda u, x: u[:, None] + 0 * x, "should be 0"),
}  # fmt: skip


@pytest.mark.parametrize("kind", RULES)
def test_the_fact_is_named(kind):
    f, arguments, wrong, words = RULES[kind]

    def bwd(arguments, u):
        others = [
            None if a.dtype.kind in "iu" else jax.vjp(lambda a: f(arguments[0], a), a)[1](u)[0] for a in arguments[1:]
        ]
        return (wrong(u, *arguments), *others)

    report = bp.check_custom_vjp(with_rule(f, bwd), *arguments)
    (line,) = [line for line in report.lines if line.verdict == "wrong"]
    assert re.search(words, line.diagnosis), str(report)


def test_a_corrected_norm_runs():
    def bwd(arguments, u):
        x, w = arguments
        return _rms_back(x, w, u, (0, 1))[0], _rms_back(x, w, u)[1]

    report = bp.check_custom_vjp(with_rule(_rms, bwd), x, W)
    dout = rng.normal(size=x.shape)
    scope = {"jnp": jnp, "x": x, "w": W, "dout": dout}
    exec(report["dx"].suggestion, scope)
    with jax.enable_x64(True):
        right = jax.vjp(_rms, x, W)[1](jnp.asarray(dout))[0]
    np.testing.assert_allclose(scope["dx"], right, rtol=1e-12)


def _scaled(factor):
    def cost(params, X, Y, keep, extra):
        return jnp.sum((params["W"] @ X - Y) ** 2) / X.shape[1] / keep

    def backward(params, X, Y, keep, extra):
        m = X.shape[1]
        return {"dW": factor(m, keep) * 2 * (params["W"] @ X - Y) @ X.T / m / keep}

    given = rng.normal(size=(4, 11)), rng.normal(size=(3, 11)), 0.6, np.ones(3)
    return bp.check_gradients(cost, backward, {"W": rng.normal(size=(3, 4))}, *given)["dW"].diagnosis


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (lambda m, keep: m, "1/m, is missing"),  # class weights (3,) do not hide m
        (lambda m, keep: m**-0.5, "1/sqrt(m)"),
        (lambda m, keep: (m - 1) / m, "(m - 1)/m"),
        (lambda m, keep: 1 / m, "one 1/m too many"),
        (lambda m, keep: keep, "keep = 0.6"),
        (lambda m, keep: 1 / (1 - keep), "1/(1 - keep)"),
        (lambda m, keep: 3**0.5, "sqrt(3), where W has size 3 along axis 0"),
    ],
)
def test_a_constant_is_named_by_its_source(factor, words):
    assert words in _scaled(factor)


def test_a_factor_without_a_name_is_a_guess_or_unknown():
    diagnosis = _scaled(lambda m, keep: 0.258371)
    assert diagnosis == "it is 0.258371 times what it should be"


def test_indices_that_are_no_classes_do_not_raise():
    f = with_rule(lambda x, i: jnp.tanh(x), lambda arguments, u: (u, None))
    assert bp.check_custom_vjp(f, rng.normal(size=(3, 4)), np.array([-5, 3, 1]))["dx"].verdict == "wrong"


@pytest.mark.parametrize(("by", "words"), [(1e-9, "1 + 1.0e-09 times"), (-1e-9, "1 - 1.0e-09 times")])
def test_a_factor_close_to_one_is_not_written_as_one(by, words):
    assert words in _scaled(lambda m, keep: 1 + by)


def test_a_line_of_less_precision_is_noted():
    report = bp.check_gradients(
        lambda p: jnp.sum(jnp.tanh(p["a"]) ** 2),
        lambda p: {"da": (2 * np.tanh(p["a"]) * (1 - np.tanh(p["a"]) ** 2)).astype(np.float32)},
        {"a": rng.normal(size=(3, 4))},
    )
    assert report.verdict == "right" and "da: computed in float32, and judged at that precision" in report.notes
