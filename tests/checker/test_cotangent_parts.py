"""The parts of a cotangent that a rule uses, and reports in the names of the user's own function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import manual_bp as bp

RNG = np.random.default_rng(5)
X, Y = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4))
A, B, V = RNG.normal(size=(4, 3)), RNG.normal(size=(2, 4)), RNG.normal(size=3)


def two_outputs(x, y):
    return {"sum": x + y, "product": x * y}


def rule_of_two(use):
    """Make a rule from the cotangents that are used for the sum and for the product."""

    def rule(kept, u):
        x, y = kept
        s, p = use(u["sum"], u["product"])
        return s + p * y, u["sum"] + u["product"] * x

    return rule


def check(f, rule, *args):
    g = jax.custom_vjp(f)
    g.defvjp(lambda *args: (f(*args), args), rule)
    return bp.check_custom_vjp(g, *args)


@pytest.mark.parametrize(
    "use, mistake, fact",
    [
        (lambda s, p: (s, 0 * p), "cotangent ignored", 'the cotangent dout["product"] is not used'),
        (lambda s, p: (s, p + s), "another cotangent", 'the cotangent dout["sum"] is also added to dout["product"]'),
        (lambda s, p: (p, p), "another line", 'dout["product"] is used in place of dout["sum"]'),
        (lambda s, p: (s + p, 0 * p), "missing factor", "the factor y is missing"),
    ],
)
def test_one_of_two_outputs(use, mistake, fact):
    report = check(two_outputs, rule_of_two(use), X, Y)
    assert {line.line: line.verdict for line in report.lines} == {"dx": "wrong", "dy": "right"}
    assert report["dx"].mistake == mistake and fact in report["dx"].diagnosis
    assert "dout[1]" not in str(report)


@pytest.mark.parametrize(
    "use, part",
    [
        (lambda u: jnp.zeros_like(u).at[0, 0].set(u[0, 0]), "the first element of dout"),
        (lambda u: jnp.full_like(u, jnp.sum(u)), "the sum of dout"),
        (lambda u: jnp.broadcast_to(jnp.sum(u, 1, keepdims=True), u.shape), "the sum of dout over axis 1"),
    ],
)
def test_a_part_of_one_cotangent(use, part):
    line = check(lambda x: jnp.sin(x), lambda kept, u: (use(u) * jnp.cos(kept[0]),), X)["dx"]
    assert line.mistake == "part of the cotangent" and f"only {part} is used" in line.diagnosis


def test_the_names_of_a_custom_gradient():
    @jax.custom_gradient
    def scaled(x, scale):
        return x * scale, lambda u: (u * scale, 2 * jnp.sum(u * x))

    assert {line.line for line in bp.check_custom_vjp(scaled, X, jnp.asarray(0.5)).lines} == {"dx", "dscale"}


def chain(a, b, v):
    return b @ jnp.tanh(a @ v)


def chain_rule(change):
    def rule(kept, u):
        a, b, v = kept
        h = jnp.tanh(a @ v)
        dh = b.T @ u
        dz = dh * (1 - h * h)
        return change({"a": jnp.outer(dz, v), "b": jnp.outer(u, h), "v": a.T @ dz})

    return rule


def layer(a, x):
    return jnp.tanh(a @ x)


def layer_rule(change, prime=lambda h: 1 - h * h):
    def rule(kept, u):
        a, x = kept
        dz = u * prime(jnp.tanh(a @ x))
        return change({"a": dz @ x.T, "x": a.T @ dz})

    return rule


def values(lines):
    return tuple(lines.values())


X_LAYER = RNG.normal(size=(3, 5))
WRONG = [
    (layer, layer_rule(values, prime=lambda h: 1 - h), (A, X_LAYER)),
    (layer, layer_rule(values, prime=jnp.ones_like), (A, X_LAYER)),
    (layer, layer_rule(lambda d: (-d["a"], d["x"])), (A, X_LAYER)),
    (layer, layer_rule(lambda d: (d["a"], 0 * d["x"])), (A, X_LAYER)),
    (chain, chain_rule(lambda d: (d["a"], 2 * d["b"], d["v"])), (A, B, V)),
    (chain, chain_rule(lambda d: (d["a"], d["b"], 0 * d["v"])), (A, B, V)),
    (chain, chain_rule(lambda d: (0 * d["a"], d["b"], 0 * d["v"])), (A, B, V)),
    (two_outputs, rule_of_two(lambda s, p: (s, -p)), (X, Y)),
]


def test_suggestions_run_and_are_right():
    """Each correction uses the arguments, the output and its cotangent only, and gives the derivative."""
    count = 0
    for f, rule, args in WRONG:
        report = check(f, rule, *args)
        out, transpose = jax.vjp(f, *args)
        dout = jax.tree.map(lambda o: RNG.normal(size=o.shape), out)
        names = list(f.__code__.co_varnames[: len(args)])
        true = dict(zip(names, transpose(jax.tree.map(jnp.asarray, dout)), strict=True))
        known = dict(zip(names, args, strict=True)) | {"out": jax.tree.map(np.asarray, out), "dout": dout, "jnp": jnp}
        assert report.verdict == "wrong" and all(line.line[1:] in true for line in report.lines)
        for line in report.lines:
            if line.suggestion:
                made = {}
                exec(line.suggestion, dict(known), made)
                np.testing.assert_allclose(made[line.line], true[line.line[1:]], rtol=1e-5)
                count += 1
    assert count >= 5
