"""Mistakes that the arguments given hide, and right passes that keep something or are meant for such arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import manual_bp as bp

RNG = np.random.default_rng(6)
W, V, X, Y = (RNG.normal(size=shape) for shape in ((3, 5), (5, 3), (5, 7), (3, 7)))
X_KEPT = X


def cost(p, X, Y):
    return jnp.sum((jnp.tanh(p["W"] @ X) - Y) ** 2)


def backward(p, X, Y):
    A = np.tanh(p["W"] @ X)
    return {"W": 2 * (A - Y) * (1 - A**2) @ X.T}


def with_rule(f, rule):
    g = jax.custom_vjp(f)
    g.defvjp(lambda *args: (f(*args), args), rule)
    return g


@pytest.mark.parametrize(("power", "verdict"), [(0, "wrong"), (1, "right")])
def test_lines_in_the_same_arrays_at_each_call(power, verdict):
    out = {"W": np.empty((3, 5)), "g": np.empty((3, 1))}

    def in_place(p, X):
        h = p["W"] @ X
        c = np.cos(p["g"] * h)
        np.matmul(c * p["g"] ** power, X.T, out=out["W"])
        np.sum(c * h, axis=1, keepdims=True, out=out["g"])
        return out

    params = {"W": W, "g": np.ones((3, 1))}
    report = bp.check_gradients(lambda p, X: jnp.sum(jnp.sin(p["g"] * (p["W"] @ X))), in_place, params, X)
    assert report.verdict == verdict


@pytest.mark.parametrize("of", [cost, lambda p, X, Y: np.sum((np.tanh(p["W"] @ X) - Y) ** 2)], ids=["jax", "numpy"])
def test_a_sum_that_is_never_zeroed(of):
    kept = {"W": np.zeros((3, 5))}

    def summed(p, X, Y):
        kept["W"] += backward(p, X, Y)["W"]
        return kept

    report = bp.check_gradients(of, summed, {"W": W}, X, Y)
    assert report.verdict == "cannot tell" and "from one call to the next" in report["dW"].diagnosis


def test_a_network_that_keeps_its_own():
    """Its parameters, its activations, or both until they are used: the pass is right for what it keeps."""
    params, A = {"W": W}, np.tanh(W @ X)
    once = [A]
    for own in (
        lambda p, X, Y: backward(params, X, Y),
        lambda p, X, Y: {"W": 2 * (A - Y) * (1 - np.tanh(p["W"] @ X_KEPT) ** 2) @ X_KEPT.T},
        lambda p, X, Y: {"W": 2 * (A - Y) * (1 - once.pop() ** 2) @ X.T},
    ):
        assert bp.check_gradients(cost, own, params, X, Y).verdict == "right"


def test_activations_kept_beside_given_parameters():
    A = np.tanh(W @ X)

    def two_layers(p, X, Y):
        return jnp.sum((p["V"] @ jnp.tanh(p["W"] @ X) - Y) ** 2)

    def own(p, _, Y):
        dZ = 2 * (V @ A - Y)
        return {"V": dZ @ A.T, "W": (p["V"].T @ dZ * (1 - A**2)) @ X.T}

    assert bp.check_gradients(two_layers, own, {"W": W, "V": V}, X, X + 1).verdict == "right"


@pytest.mark.parametrize("transposed", [False, True])
def test_a_second_matrix_that_is_the_first_at_the_start(transposed):
    def tied(p, X):
        return jnp.sum((p["V"] @ jnp.tanh(p["W"] @ X) - X) ** 2)

    def own(p, X):
        A = np.tanh(p["W"] @ X)
        dZ = 2 * (p["V"] @ A - X)
        return {"V": dZ @ A.T, "W": ((p["W"] if transposed else p["V"].T) @ dZ * (1 - A**2)) @ X.T}

    report = bp.check_gradients(tied, own, {"W": W, "V": W.T.copy()}, X)
    assert report.verdict == ("wrong" if transposed else "right")
    assert not transposed or "values that fit each other hide" in report.notes[0]


@pytest.mark.parametrize(("divided", "verdict"), [(False, "cannot tell"), (True, "right")])
def test_parameters_that_sum_to_1(divided, verdict):
    def own(p, X):
        total = p.sum() if divided else 1.0
        return (X.sum(1) - (p @ X).sum() / total) / total

    p = np.array([0.1, 0.15, 0.05, 0.4, 0.3])
    report = bp.check_gradients(lambda p, X: jnp.sum(p @ X) / jnp.sum(p), own, p, X)
    assert report.verdict == verdict and (divided or "meant for them only" in report["dp"].diagnosis)


def unit(v):
    return v / jnp.linalg.norm(v, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("norm", "start", "verdict"),
    [
        (lambda v: 1.0, lambda v: unit(v), "cannot tell"),
        (lambda v: jnp.linalg.norm(v, axis=1, keepdims=True), lambda v: unit(v), "right"),
        (lambda v: jnp.linalg.norm(v, axis=1, keepdims=True), lambda v: v, "right"),
    ],
)
def test_unit_vectors(norm, start, verdict):
    """A rule may be meant for vectors that are normalised before."""

    def bwd(args, d):
        u = args[0] / norm(args[0])
        return ((d - u * (d * u).sum(1, keepdims=True)) / norm(args[0]),)

    assert bp.check_custom_vjp(with_rule(unit, bwd), np.asarray(start(W))).verdict == verdict


@pytest.mark.parametrize(("forgotten", "verdict"), [(True, "wrong"), (False, "right")])
def test_a_scale_that_is_the_norm_at_the_start(forgotten, verdict):
    def bwd(args, d):
        v, g = args
        factor = 1 if forgotten else (g / jnp.linalg.norm(v, axis=1))[:, None]
        u = unit(v)
        return factor * (d - u * (d * u).sum(1, keepdims=True)), (d * u).sum(1)

    rule = with_rule(lambda v, g: g[:, None] * unit(v), bwd)
    report = bp.check_custom_vjp(rule, W, np.linalg.norm(W, axis=1))
    assert report.verdict == verdict and (not forgotten or "v, g are moved" in report.notes[0])


P = RNG.dirichlet(np.ones(3), size=4)
KEEP = 0.7


@pytest.mark.parametrize(
    ("f", "rule", "target"),
    [
        (  # labels
            lambda z, y: -jnp.sum(jax.lax.stop_gradient(y) * jax.nn.log_softmax(z)),
            lambda args, u: (u * (jax.nn.softmax(args[0]) - args[1]), jnp.zeros_like(args[1])),
            np.eye(3)[[0, 2, 1, 2]],
        ),
        (  # probabilities, as of a teacher
            lambda z, p: jnp.sum(
                jax.lax.stop_gradient(p) * (jax.lax.stop_gradient(jnp.log(p)) - jax.nn.log_softmax(z))
            ),
            lambda args, u: (u * (jax.nn.softmax(args[0]) - args[1]), jnp.zeros_like(args[1])),
            P,
        ),
        (  # their logarithms
            lambda z, t: -jnp.sum(jax.lax.stop_gradient(jnp.exp(t)) * jax.nn.log_softmax(z)),
            lambda args, u: (u * (jax.nn.softmax(args[0]) - jnp.exp(args[1])), jnp.zeros_like(args[1])),
            np.log(P),
        ),
        (  # a mask
            lambda x, mask: x * jax.lax.stop_gradient(mask),
            lambda args, u: (jnp.where(args[1] > 0, u / KEEP, 0), jnp.zeros_like(args[1])),
            (RNG.random((4, 3)) < KEEP) / KEEP,
        ),
        (  # the sines of an angle twice, as in rotary embeddings
            lambda x, s: jax.lax.stop_gradient(s) * jnp.roll(x, 2, axis=0),
            lambda args, u: (args[1] * jnp.roll(u, -2, axis=0), jnp.zeros_like(args[1])),
            np.concatenate([np.sin(X[:2, :3])] * 2),
        ),
    ],
    ids=["labels", "probabilities", "log-probabilities", "mask", "twice"],
)
def test_rules_that_are_meant_for_such_arguments(f, rule, target):
    report = bp.check_custom_vjp(with_rule(f, rule), RNG.normal(size=(4, 3)), target)
    assert report.lines[0].verdict == "right" and report.verdict != "wrong", report


@pytest.mark.parametrize(("turned", "verdict"), [(1, "wrong"), (2, "right")])
def test_one_square_line_shows_no_layout(turned, verdict):
    params = {name: RNG.normal(size=(4, 4)) + 3 * np.eye(4) for name in "AB"}

    def of_two(p):
        return sum(jnp.linalg.slogdet(p[n])[1] for n in "AB")

    def own(p):
        return {f"d{n}": np.linalg.inv(p[n]) if i <= turned else np.linalg.inv(p[n]).T for i, n in enumerate("AB", 1)}

    found = bp.check_gradients(of_two, own, params)
    assert found.verdict == verdict
    alone = bp.check_gradients(of_two, lambda p: {"dA": own(p)["dA"]}, params)["dA"]
    assert (alone.verdict, alone.mistake) == ("wrong", "transposed") and "return a second line" in alone.diagnosis


@pytest.mark.parametrize(
    ("scale", "verdict"),
    [(0.37, "wrong"), (2.0, "wrong"), (0.5, "wrong"), (7, "right"), (3.5, "right"), (21, "right"), ("sum", "right")],
)
def test_the_scale_of_deltas_has_a_reason(scale, verdict):
    w = RNG.uniform(0.5, 1, 7)
    scale = w.sum() if scale == "sum" else scale

    def weighted(p, X, Y, w, tap):
        Z = tap("Z", p["W"] @ X)
        return jnp.sum(w * jnp.sum((jnp.tanh(Z) - Y) ** 2, axis=0)) / jnp.sum(w)

    def own(p, X, Y, w):
        A = np.tanh(p["W"] @ X)
        dZ = 2 * (A - Y) * (1 - A**2) * w / w.sum()
        return {"dZ": scale * dZ, "dW": dZ @ X.T}

    assert bp.check_gradients(weighted, own, {"W": W}, X, Y, w).verdict == verdict
