"""The random search for wrong passes that the checker calls right: a sample of it, and that it would notice one."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import manual_bp as bp
from reference.checker_proof.search import search
from reference.checker_proof.search.forms import Form, report
from reference.checker_proof.search.mutations import text_of
from reference.checker_proof.search.points import PROGRAMS, draw, true_lines
from reference.checker_proof.search.search import search_checker

BY_NAME = {program.name: program for program in PROGRAMS}


def verdict(name, form, values, *change, seed=0, sizes="equal"):
    program = BY_NAME[name]
    text = text_of(program)
    assert not change or change[0] in text
    return report(program, text.replace(*change) if change else text, form, draw(program, sizes, values, seed)).verdict


def test_the_search_finds_nothing(deep):
    printed = io.StringIO()
    found = search_checker(*((2000, 2000) if deep else (10, 6)), seed=0, stream=printed)
    assert str(found) in printed.getvalue()
    assert len(found.trials) == (4000 if deep else 16)
    assert [(t.what, t.report) for t in found.failures()] == []


def test_the_search_would_notice(monkeypatch):
    """A checker that answers without looking fails."""
    for answer, fails in (("right", {"wrong", "hidden"}), ("wrong", {"right"})):
        monkeypatch.setattr(search, "report", lambda *given, answer=answer: bp.checker.Report((), (), (), answer, 0.0))
        monkeypatch.setattr(bp.checker.Report, "verdict", property(lambda self: self.dtype))
        found = search_checker(10, 10, stream=io.StringIO())
        assert {t.truth for t in found.trials if t.is_failure} <= fails
        assert sum(t.is_failure for t in found.trials) >= 8


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_the_passes_are_right(program):
    """The lines agree with autodiff, so that what is changed in them is a mistake."""
    point = draw(program, "distinct", "normal", 5)
    dout = np.random.default_rng(1).normal(size=jnp.shape(program.forward(**point)))
    found = program.backward(dout, **point)
    true = true_lines(program, point, dout)
    for name, line in zip(program.floats(), found, strict=True):
        assert np.linalg.norm(line - true[name]) <= 1e-12 * np.linalg.norm(true[name])


@pytest.mark.parametrize("kind", ["rule", "gradients"])
def test_ones_and_zeros_hide_no_mistake(kind):
    change = ("dn = dout * gain", "dn = dout")
    assert verdict("layer_norm", Form(kind), "start") == "right"
    assert verdict("layer_norm", Form(kind), "start", *change) == "wrong"


@pytest.mark.parametrize(
    "name, change",
    [("rnn", ("dh = U.T @ dz", "dh = dz")), ("residual", ("dz = dout @ V.T * (z > 0)", "dz = dout * (z > 0)"))],
)
def test_an_identity_hides_no_mistake(name, change):
    assert verdict(name, Form("gradients"), "identity") == "right"
    assert verdict(name, Form("gradients"), "identity", *change) == "wrong"


@pytest.mark.parametrize("kind", ["rule", "lines"])
def test_the_same_array_twice_hides_no_mistake(kind):
    program = BY_NAME["attention"]
    x = np.random.default_rng(0).normal(size=(3, 3))
    point, text = dict.fromkeys("qkv", x), text_of(program)
    assert report(program, text, Form(kind), point).verdict == "right"
    assert report(program, text.replace("dS @ k", "dS @ q"), Form(kind), point).verdict == "wrong"


def weighted_cost(params, X, y, w):
    return jnp.sum(w * (X @ params["theta"] - y) ** 2) / jnp.sum(w)


@pytest.mark.parametrize("of_weights, target", [(np.size, 1), (np.sum, 0)])
def test_equal_arguments_hide_a_mistake_or_are_meant(of_weights, target):
    """The weights of ones and targets of zeros are data, so one cannot tell."""

    def backward(params, X, y, w):
        return {"theta": 2 * X.T @ (w * (X @ params["theta"] - target * y)) / of_weights(w)}

    X = np.random.default_rng(1).normal(size=(5, 2))
    found = bp.check_gradients(weighted_cost, backward, {"theta": np.arange(2.0)}, X, np.zeros(5), np.ones(5))
    assert found.verdict == "cannot tell" and "hide a mistake" in found["dtheta"].diagnosis


def bent_cost(params, x):
    return jnp.sum(params["b"] * jnp.clip(x, -1, 1))


def test_an_argument_at_a_kink():
    """The derivative by x is that of one side or the other, or between, where x is 1."""
    params, x = {"b": np.arange(1.0, 4)}, np.array([0.3, 1.0, 2.0])
    for slope, verdict in ((1, "cannot tell"), (2, "wrong")):
        lines = {"db": np.clip(x, -1, 1)}

        def backward(params, x, lines=lines, slope=slope):
            return lines | {"dx": slope * params["b"] * (x < 1)}

        assert bp.check_gradients(bent_cost, backward, params, x)["dx"].verdict == verdict


def tanh_cost(params, x):
    return jnp.sum(jnp.tanh(params["W"] @ x + params["b"]))


def test_lines_computed_before_are_not_doubted():
    params, x = {"W": np.ones((2, 3)), "b": np.zeros((2, 1))}, np.random.default_rng(0).normal(size=(3, 4))
    before = jax.grad(tanh_cost)(params, x)
    assert bp.check_gradients(tanh_cost, lambda params, x: before, params, x).verdict == "right"


@pytest.mark.parametrize(
    "name, values, inside",
    [("softmax", "small", ""), ("cross_entropy", "zeros", ""), ("rnn", "ones", ""), ("rnn", "ones", "float32")],
)
def test_rounding_inside_the_cost_is_no_mistake(name, values, inside):
    """Terms that cancel in it, such as 1 - tanh(z)^2 at saturation, do not move with the arguments."""
    assert all(verdict(name, Form("rule", inside), values, seed=seed) != "wrong" for seed in range(2))


def test_a_named_intermediate_never_has_the_name_of_an_argument():
    """A between products with B and A would else be taken for the argument A."""
    assert verdict("chained", Form("rule"), "integers", "dy = -dout * y", "dy = -dout") == "wrong"


def empty_cost(params):
    return jnp.sum(params["x"][:, 1:] @ jnp.ones((0, 2))) + jnp.sum(params["b"])


def test_an_array_without_elements():
    params = {"x": np.ones((3, 1)), "b": np.arange(3.0)}
    found = bp.check_gradients(empty_cost, lambda params: {"dx": np.ones((3, 1)), "db": np.ones(3)}, params)
    assert found["dx"].verdict == "wrong" and found["db"].verdict == "right"


def test_indices_of_more_rows_than_there_are_classes():
    assert verdict("embedding", Form("rule"), "normal", "dz = dout * (1", "dz = b * (1", sizes="ones") == "wrong"


@pytest.mark.parametrize("sizes", ["equal", "ones"])
def test_a_gradient_that_rounding_leaves_is_not_called_wrong(sizes):
    """dx of a norm at equal values is 0, and where terms of size 10 cancel, autodiff is left with 1e-14."""
    for kind in ("lines", "gradients"):
        assert verdict("layer_norm", Form(kind), "ones", sizes=sizes) == "cannot tell"


@pytest.mark.parametrize("seed", [1, 19])
def test_ties_of_a_coarser_pass_are_not_called_wrong(seed):
    """bfloat16 rounds equal values that were moved by a thousandth to equal ones again."""
    assert verdict("max_pool", Form("lines", "bfloat16", "float32"), "integers", seed=seed, sizes="ones") != "wrong"
