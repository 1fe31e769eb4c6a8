"""Tests of inputs at the edges: deep graphs, very small numbers, no examples, tuples, integers of NumPy."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np

import manual_bp as bp
from manual_bp.checker.diagnose import evidence
from manual_bp.checker.graph.arguments import flatten_arguments
from manual_bp.checker.graph.cost_graph import build_graph


def normal(*shape):
    return np.random.default_rng(len(shape) + sum(shape)).normal(size=shape)


def residual(p, x):
    for W in p:
        x = x + 0.3 * jnp.tanh(W @ x)
    return jnp.sum(x**2)


def test_descendants_take_no_exponential_time():
    graph = build_graph(residual, flatten_arguments(residual, [normal(2, 2)] * 60, [normal(2, 3)]))
    last = list(graph.nodes)[-1]
    assert len(graph.descendants(last)) == len(graph.nodes) + 60  # 59 of the nodes, x, and each W
    assert graph.returned_descendants(last, {"params[59]", "p[59]", "p[0]"}) >= {"p[59]", "p[0]"}


def test_a_search_stops_after_as_many_evaluations_as_it_may_take(monkeypatch):
    calls = []
    lines = evidence.Evidence._lines
    monkeypatch.setattr(evidence.Evidence, "_lines", lambda *a: calls.append(1) or lines(*a))
    monkeypatch.setattr(evidence, "MOST_SECONDS", 0.01)

    def backward(p, x):
        return jax.tree.map(lambda a: 1.1 * a + 0.1 * a**2, jax.grad(residual)(p, x))

    p = [normal(4, 4) + i for i in range(6)]
    assert bp.check_gradients(residual, backward, p, normal(4, 6)).verdict == "wrong"
    assert len(calls) < 300


def test_a_very_small_number_in_the_cost():
    def cost(W, X):
        return jnp.mean(jnp.log(jnp.exp(W @ X) + 1e-300))

    report = bp.check_gradients(cost, lambda W, X: 0.3 * np.ones((3, 6)) @ X.T / 18, normal(3, 4), normal(4, 6))
    assert "0.3 times" in report["dW"].diagnosis


def test_code_has_all_digits():
    def cost(c, p, X, Y):
        return jnp.mean(jnp.sum((p["W"] @ X - Y) ** 2, 0)) + c / 2 * jnp.sum(p["W"] ** 2)

    def backward(c, p, X, Y):
        return {"dW": 2 * (p["W"] @ X - Y) @ X.T / 7 + c * p["W"] ** 2}

    for c, code in ((0.5 / 7, "0.5 / 7 * W"), (np.pi / 10, f"{np.pi / 10!r} * W"), (0.3, "0.3 * W")):
        given = {"W": normal(3, 4)}, normal(4, 7), normal(3, 7)
        report = bp.check_gradients(functools.partial(cost, c), functools.partial(backward, c), *given)
        line = report["dW"].suggestion.splitlines()[0]
        found = float(eval(line.split(" + ")[1].removesuffix(" * W")))
        assert abs(found - c) <= 1e-14 and (code in line or c == np.pi / 10), line


def test_a_wrong_rule_with_complex_products_gives_no_warning():
    def f(x, k):
        return jnp.fft.irfft(jnp.fft.rfft(x) * jnp.fft.rfft(k), x.shape[-1])

    def bwd(saved, g):
        G, X, K = (jnp.fft.rfft(a) for a in (g, *saved))
        return jnp.fft.irfft(G * K, 8), jnp.fft.irfft(G * jnp.conj(X), 8).sum(0)

    rule = jax.custom_vjp(f)
    rule.defvjp(lambda *a: (f(*a), a), bwd)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = bp.check_custom_vjp(rule, normal(3, 8), normal(8))
    assert report.verdict == "wrong" and "stopped at an error" not in str(report)


def test_no_examples():
    def cost(p, X):
        return jnp.sum((p["W"] @ X) ** 2) / X.shape[1]

    def backward(p, X):
        with np.errstate(all="ignore"):
            return {"dW": 2 * p["W"] @ X @ X.T / np.float64(X.shape[1]), "dX": X}

    report = bp.check_gradients(cost, backward, {"W": normal(3, 4)}, np.empty((4, 0)))
    assert report.verdict == "cannot tell"
    assert (report["dW"].diagnosis, report["dX"].diagnosis) == ("X is empty", "it is empty")


def test_tuples_that_the_shapes_tell_apart():
    def cost(p, X, y):
        return jnp.mean((X @ p["w"] + p["b"] - y) ** 2)

    def parts(p, X, y):
        d = 2 * (X @ p["w"] + p["b"] - y) / 9
        return d.sum(), X.T @ d

    given = {"w": normal(4), "b": 0.3}, normal(9, 4), normal(9)
    for backward in (parts, lambda *a: parts(*a)[::-1], lambda *a: (1.0, np.hstack(parts(*a)))):
        assert bp.check_gradients(cost, backward, *given).verdict == "right"
    three = {"a": normal(2), "c": normal(3), "b": normal(4)}
    square = jax.grad(lambda p: sum(jnp.sum(v**3) for v in p.values()))
    moved = bp.check_gradients(
        lambda p: sum(jnp.sum(v**3) for v in p.values()), lambda p: tuple(square(p)[k] for k in "cba"), three
    )
    assert moved.verdict == "right"
    for n in (2, 3):

        def of_numbers(p, x):
            return tuple(np.cos(p) * x)

        assert (
            bp.check_gradients(lambda p, x: jnp.sum(jnp.sin(p) * x), of_numbers, normal(n), normal(n)).verdict
            == "right"
        )


def test_integers_of_numpy_are_static():
    def cost(W, x, n):
        for _ in range(n):
            x = jnp.tanh(W @ x)
        return jnp.sum(x * jnp.ones(n)[0])

    def label(W, x, y):
        return -jax.nn.log_softmax(W @ x)[y]

    for function, n in ((cost, np.int64(3)), (cost, np.array(3)), (label, np.int64(2)), (label, jnp.asarray(2))):
        given = normal(3, 3), normal(3), n
        assert bp.check_gradients(function, jax.grad(function), *given).verdict == "right"
