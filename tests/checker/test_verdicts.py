"""The checker as seen by its users: verdicts, lines, conventions."""

import functools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from two_layers import PARAMS, RNG, M, X, Y, check, cost, gradient, lines, off, only, replaced, untapped, verdicts

import manual_bp as bp
from manual_bp.checker import _one_pass


def test_right():
    report = check(cost, lines, PARAMS, X, Y)
    assert report.verdict == "right" and report.dtype == "float64"
    assert [line.line for line in report.lines] == ["dA2", "dZ2", "dW2", "db2", "dA1", "dZ1", "dW1", "db1"]
    assert max(off(report, line.line) for line in report.lines) < 1e-14
    assert report.conventions == () and report.notes == ()


def test_one_wrong_line_and_what_follows_from_it():
    report = check(cost, only("dZ2", "dZ1", "dW1", make_dZ1=lambda dA1, A1: dA1), PARAMS, X, Y)
    assert verdicts(report) == {"dZ2": "right", "dZ1": "wrong", "dW1": "inherited"}
    assert report["dZ1"].mistake == "missing g'"
    assert report["dZ1"].suggestion == "dZ1 = (W2.T @ dZ2) * (1 - A1**2)"
    assert off(report, "dW1") > 0.1 and off(report, "dW1", local=True) < 1e-14
    assert report.notes == ("not returned, so not judged: dW2, db1, db2",)


def test_independent_mistakes_are_each_named():
    report = check(cost, replaced(dW2=lambda d: -d["dW2"], db1=lambda d: d["dZ1"].sum(axis=0)), PARAMS, X, Y)
    wrong = {line.line: line.mistake for line in report.lines if line.verdict == "wrong"}
    assert wrong == {"dW2": "wrong sign", "db1": "wrong axis"}
    assert "(7,)" in report["db1"].diagnosis and "(6, 1)" in report["db1"].diagnosis


@pytest.mark.parametrize("of", [cost, untapped], ids=["tapped", "not tapped"])
def test_inferred_from_the_parameters_gradients(of):
    report = check(of, functools.partial(gradient, make_dZ1=lambda dA1, A1: dA1 * A1), PARAMS, X, Y)
    assert verdicts(report) == dict(dW2="right", db2="right", dZ1="wrong", dW1="inherited", db1="inherited")
    assert report["dZ1"].mistake == "g for g'" and not report["dZ1"].returned
    assert "dW1, db1 follow from that" in report["dZ1"].diagnosis


def test_inferred_without_a_name_for_the_mistake():
    def bent(dA1, A1):
        return dA1 * (1 - A1**2) + np.cos(np.arange(A1.size)).reshape(A1.shape)

    report = check(cost, only("dW2", "dW1", "db1", make_dZ1=bent), PARAMS, X, Y)
    assert (report["dZ1"].verdict, report["dZ1"].mistake, report["dZ1"].returned) == ("wrong", "unknown", False)
    assert "dW1, db1 are wrong together" in report["dZ1"].diagnosis


def test_the_passes_of_a_check(monkeypatch):
    """At each of two points, a right pass is called twice, and autodiff runs with the graph whole and cut."""
    from manual_bp.checker.judge.cut_graph import CutGraph

    evaluations, passes, evaluate = [], [], CutGraph.__call__
    monkeypatch.setattr(CutGraph, "__call__", lambda self, *args: (evaluations.append(1), evaluate(self, *args))[1])
    check(cost, lambda *args: (passes.append(1), lines(*args))[1], PARAMS, X, Y)
    assert (len(evaluations), len(passes)) == (4, 4)


def test_a_room_of_the_checker_imports_from_itself_and_the_rooms_below():
    rooms = ["graph", "judge", "diagnose"]
    for number, room in enumerate(rooms, start=1):
        for file in (Path(bp.checker.__file__).parent / room).glob("*.py"):
            assert {*re.findall(r"manual_bp\.checker\.(\w+)", file.read_text())} <= {*rooms[:number], "_report_line"}, (
                file
            )


def test_a_small_mistake_in_one_element():
    small = replaced(dW1=lambda d: d["dW1"] + 1e-9 * (np.arange(24) == 14).reshape(6, 4))
    report = check(cost, small, PARAMS, X, Y)
    assert report["dW1"].verdict == "wrong" and "most at [3, 2]" in report["dW1"].diagnosis
    assert check(cost, small, PARAMS, X, Y, tolerance=1e-8).verdict == "right"


@pytest.mark.parametrize(
    "call",
    [
        lambda params, X, Y, tap: cost(params, X, Y, tap),
        lambda params, X, Y, *, tap=None: cost(params, X, Y, tap),
        lambda params, X, Y, tap=lambda name, value: value: cost(params, X, Y, tap),
        lambda params, X, Y, t: cost(params, X, Y, t),
        jax.jit(cost, static_argnames="tap"),
        lambda params, X, Y, tap: jax.jit(lambda p: cost(p, X, Y, tap))(params),
        lambda params, X, Y, tap: jax.checkpoint(lambda p: cost(p, X, Y, tap))(params),
    ],
    ids=["positional", "keyword only", "default", "other name", "jitted", "inside jit", "inside remat"],
)
def test_every_way_to_take_tap(call):
    assert len(check(call, lines, PARAMS, X, Y).lines) == 8
    assert check(call, replaced(dZ1=lambda d: d["dA1"]), PARAMS, X, Y)["dZ1"].mistake == "missing g'"


@pytest.mark.parametrize("backward", [gradient, lambda p, X, Y: jax.grad(untapped)(p, X, Y)], ids=["numpy", "jax"])
@pytest.mark.parametrize("of", [cost, untapped], ids=["tapped", "not tapped"])
def test_a_pytree_like_params(of, backward):
    report = check(of, backward, PARAMS, X, Y)
    assert verdicts(report) == dict.fromkeys(["dW2", "db2", "dW1", "db1"], "right")


def test_names_in_nested_params():
    W1, b1, W2, b2 = map(jnp.asarray, (PARAMS[name] for name in ("W1", "b1", "W2", "b2")))
    params = {"layers": [bp.Layer(W1, b1), bp.Layer(W2, b2)]}

    def nested(params, X, Y):
        (W1, b1), (W2, b2) = params["layers"]
        return untapped({"W1": W1, "b1": b1, "W2": W2, "b2": b2}, X, Y)

    def backward(params, X, Y):
        d = lines(PARAMS, X, Y)
        return {"dlayers": [(d["dW1"], d["db1"]), (d["dW2"], d["db2"])]}

    names = ["dlayers[1].W", "dlayers[1].b", "dlayers[0].W", "dlayers[0].b"]
    by_path = check(nested, lambda *a: {names[2]: backward(*a)["dlayers"][0][0]}, params, X, Y)
    assert verdicts(by_path) == {names[2]: "right"}
    by_subtree = check(nested, backward, params, X, Y)
    assert [line.line for line in by_subtree.lines] == names and by_subtree.verdict == "right"
    like_params = check(nested, lambda *a: {"layers": backward(*a)["dlayers"]}, params, X, Y)
    assert verdicts(like_params) == dict.fromkeys(names, "right")
    of_layers, pairs = lambda p, X, Y: nested({"layers": p}, X, Y), lambda *a: backward(*a)["dlayers"]
    of_tuple = check(of_layers, pairs, params["layers"], X, Y)
    assert "dp[0].W" in verdicts(of_tuple) and of_tuple.verdict == "right"


def test_an_argument_has_a_line_too():
    def with_input(params, X, Y):
        return (d := lines(params, X, Y)) | {"dX": params["W1"].T @ d["dZ1"]}

    assert check(cost, with_input, PARAMS, X, Y)["dX"].verdict == "right"
    wrong = check(cost, replaced(dX=lambda d: PARAMS["W1"].T @ d["dA1"]), PARAMS, X, Y)["dX"]
    assert (wrong.verdict, wrong.mistake, wrong.suggestion) == ("wrong", "another line", "dX = W1.T @ dZ1")


def conventional(*, m_at="dW", rows=False, turned=False):
    def backward(params, X, Y):
        d, m = lines(params, X, Y), X.shape[1]
        if m_at == "dW":
            d = {n: v * m if n[1] in "AZ" else v for n, v in d.items()}
        if rows:
            d = {n: v.T if n[1] in "AZ" else v for n, v in d.items()}
        return {n: v.T if turned and n[1] == "W" else v for n, v in d.items()}

    return backward


@pytest.mark.parametrize("convention", [{}, {"rows": True}, {"turned": True}, {"rows": True, "turned": True}])
@pytest.mark.parametrize("m_at", ["dW", "output"])
def test_conventions_are_accepted_and_named(convention, m_at):
    report = check(cost, conventional(m_at=m_at, **convention), PARAMS, X, Y)
    assert report.verdict == "right"
    said = " ".join(report.conventions)
    assert ("m = 7 times" in said) == (m_at == "dW")
    assert ("rows for columns: dA1, dA2, dZ1, dZ2" in said) == ("rows" in convention)
    assert ("weights stored transposed: dW1, dW2" in said) == ("turned" in convention)


def test_gradients_like_params_have_the_shape_of_params():
    """Lines may have another layout, but a pytree like params may not: it is subtracted from params."""
    turned = check(cost, lambda *a: {n: v.T if n[0] == "W" else v for n, v in gradient(*a).items()}, PARAMS, X, Y)
    found = {line.line: line.mistake for line in turned.lines if line.mistake}
    assert found == {"dW1": "transposed", "dW2": "transposed"}
    # of the lines, not one alone may have it
    single = check(cost, replaced(dW1=lambda d: d["dW1"].T), PARAMS, X, Y)["dW1"]
    assert (single.verdict, single.mistake) == ("wrong", "transposed")


def test_weights_taken_at_the_gradients():
    """This library computes dZ of each example's own loss, and applies w in dW and db."""
    w = RNG.uniform(0.1, 2, size=M)

    def weighted(params, X, Y, w, tap):
        Z1 = tap("Z1", params["W1"] @ X + params["b1"])
        Z2 = tap("Z2", params["W2"] @ jnp.tanh(Z1) + params["b2"])
        return jnp.sum(w * jnp.sum((Z2 - Y) ** 2, axis=0)) / jnp.sum(w)

    def backward(params, X, Y, w):
        A1 = np.tanh(params["W1"] @ X + params["b1"])
        dZ2 = 2 * (params["W2"] @ A1 + params["b2"] - Y)
        dZ1 = params["W2"].T @ dZ2 * (1 - A1**2)
        return {"dZ2": dZ2, "dW2": (dZ2 * w / w.sum()) @ A1.T, "dZ1": dZ1, "dW1": (dZ1 * w / w.sum()) @ X.T}

    report = check(weighted, backward, PARAMS, X, Y, w, order=2)
    assert report.verdict == "right" and "weights are taken at dW and db" in report.conventions[0]


def test_stacks_of_matrices_and_vectors():
    """The checker takes other shapes than the textbook's: a batch of sequences, and one example as a vector."""
    stack, params = RNG.normal(size=(3, 6, 4)), {"W": RNG.normal(size=(4, 5)), "V": RNG.normal(size=(5, 2))}

    def of_stack(p, X):
        return jnp.mean((jnp.tanh(X @ p["W"]) @ p["V"]) ** 2)

    def backward(params, X):
        A = np.tanh(X @ params["W"])
        d = 2 * (A @ params["V"]) / (18 * 2)
        return {"V": np.einsum("bij,bik->jk", A, d), "W": np.einsum("bij,bik->jk", X, d @ params["V"].T)}

    report = check(of_stack, lambda *a: backward(*a) | {"V": -backward(*a)["V"]}, params, stack)
    assert report["dV"].mistake == "wrong sign"
    assert report["dW"].diagnosis.startswith("dA is used in place of dZ")  # g' left out, as far as dW alone can tell

    def vector(p, x):
        return jnp.sum(jnp.tanh(p["W"] @ jnp.tanh(p["W"] @ x + p["b"]) + p["b"]) ** 2)

    square = {"W": RNG.normal(size=(4, 4)), "b": RNG.normal(size=4)}
    doubled = check(vector, lambda p, x: jax.tree.map(lambda g: 2 * g, jax.grad(vector)(p, x)), square, X[:, 0])
    assert {line.mistake for line in doubled.lines if line.verdict == "wrong"} == {"factor 2"}


def test_suggestions_are_in_the_users_convention():
    backward = conventional(m_at="dW", rows=True, turned=True)
    report = check(cost, lambda *a: (d := backward(*a)) | {"dW1": 2 * d["dW1"]}, PARAMS, X, Y)
    assert report["dW1"].suggestion == "dW1 = X.T @ dZ1 / m"


def test_a_sum_in_the_place_of_a_mean():
    """If all gradients are m times too large, the one mistake is at the line where 1/m belongs."""
    report = check(cost, lambda *a: {n: M * v for n, v in lines(*a).items()}, PARAMS, X, Y)
    assert [(line.line, line.mistake) for line in report.lines if line.verdict == "wrong"] == [("dA2", "missing 1/m")]


def test_the_users_arrays_are_left_alone():
    def updates(params, X, Y):
        d = lines(params, X, Y)
        params["W2"] -= 0.1 * d["dW2"]
        return d | {"dA1": params["W2"].T @ d["dZ2"]}

    before = {name: value.copy() for name, value in PARAMS.items()}
    report = check(cost, updates, PARAMS, X, Y)
    assert all(np.array_equal(PARAMS[name], before[name]) for name in PARAMS)
    assert (report["dA1"].verdict, report["dA1"].mistake) == ("wrong", "updated W")
    assert "W2 in place" in report.notes[0]


def test_assert_gradients_match():
    bp.assert_gradients_match(cost, lines, PARAMS, X, Y)
    wrong = replaced(dZ1=lambda d: d["dA1"])
    with pytest.raises(AssertionError, match="missing g'") as of_wrong:
        bp.assert_gradients_match(cost, wrong, PARAMS, X, Y)
    with pytest.raises(AssertionError, match="could not be verified") as of_doubt:
        bp.assert_gradients_match(cost, lambda *a: {"dW9": np.ones(2)}, PARAMS, X, Y)
    with pytest.raises(AssertionError) as of_report:
        check(cost, wrong, PARAMS, X, Y).raise_if_wrong()
    for caught in (of_wrong, of_doubt, of_report):  # what pytest shows ends in the user's own frame
        assert [entry.name for entry in caught.traceback.filter(caught)] == ["test_assert_gradients_match"]


def test_a_residual_connection_and_a_regulariser():
    """A line with two ways to the cost is a sum of two terms, and either can be wrong."""
    params = {"W": RNG.normal(size=(5, 5)), "V": RNG.normal(size=(5, 5))}
    inputs, targets = RNG.normal(size=(5, M)), RNG.normal(size=(5, M))

    def residual(params, X, Y, tap):
        A1 = tap("A1", jnp.tanh(tap("Z1", params["V"] @ X)))
        A2 = tap("A2", A1 + jnp.tanh(tap("Z2", params["W"] @ A1)))
        return jnp.mean(jnp.sum((A2 - Y) ** 2, axis=0)) + 0.05 * jnp.sum(params["W"] ** 2)

    def backward(params, X, Y, skip=1.0, decay=0.1):
        A1 = np.tanh(params["V"] @ X)
        T2 = np.tanh(params["W"] @ A1)
        dA2 = 2 * (A1 + T2 - Y) / X.shape[1]
        dZ2 = dA2 * (1 - T2**2)
        dA1 = skip * dA2 + params["W"].T @ dZ2
        return {"dA2": dA2, "dZ2": dZ2, "dW": dZ2 @ A1.T + decay * params["W"], "dA1": dA1}

    def run(**how):
        return check(residual, functools.partial(backward, **how), params, inputs, targets)

    assert run().verdict == "right"
    assert run(skip=0.0)["dA1"].mistake == "missing term" and "dA2" in run(skip=0.0)["dA1"].diagnosis
    assert run(decay=0.0)["dW"].mistake == "missing term" and "the cost itself" in run(decay=0.0)["dW"].diagnosis
    assert run(decay=0.2)["dW"].mistake == "factor 2"
    assert run(skip=-1.0)["dA1"].mistake == "wrong sign"


def test_the_librarys_own_gradient():
    network = bp.Network((4, 6, 3), "tanh")
    params = bp.init(network, jax.random.key(0))
    targets = jax.nn.one_hot(jnp.arange(M) % 3, 3).T

    def plain(params, X, Y):
        (W1, b1), (W2, b2) = params
        return -jnp.mean(jnp.sum(Y * jax.nn.log_softmax(W2 @ jnp.tanh(W1 @ X + b1) + b2, axis=0), axis=0))

    assert check(plain, bp.grad(network), params, X, targets).verdict == "right"
    (note,) = check(functools.partial(bp.cost, network), bp.grad(network), params, X, targets).notes
    assert "custom_vjp" in note
    assert bp.check_custom_vjp(functools.partial(bp.cost, network), params, X, targets).verdict == "right"


def test_equal_sizes_are_pointed_out():
    """A loop over the examples instead of the time steps is right where there are as many."""

    def last(wx, X):
        return jnp.sum(wx * X[:, -1] ** 2)

    def backward(wx, X):
        return {"dwx": np.sum(X[:, X.shape[0] - 1] ** 2)}

    right, wrong = check(last, backward, np.float64(1.5), X[:, :4]), check(last, backward, np.float64(1.5), X)
    assert right.verdict == "right" and wrong.verdict == "wrong"
    assert right.notes[0].startswith("X: axes of equal size; a sum or a loop over the wrong one")
    assert not any("equal size" in note for note in wrong.notes)


def test_an_error_in_a_diagnosis_costs_no_verdict(monkeypatch):
    def failing(*given):
        raise IndexError("too short")

    monkeypatch.setattr(_one_pass, "blame_lines", failing)
    report = check(cost, only("dZ2", "dZ1", make_dZ1=lambda dA1, A1: dA1), PARAMS, X, Y)
    assert verdicts(report) == {"dZ2": "right", "dZ1": "wrong"} and report["dZ1"].mistake == "unknown"
    assert report["dZ1"].diagnosis.endswith("please report it: IndexError: too short")


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e200, 1e300])
def test_lines_whose_squares_underflow_or_overflow(size):
    def scaled(p, x):
        return size * jnp.sum(jnp.sin(p * x))

    def backward(times, p, x):
        return times * size * np.cos(p * x) * x

    for times, verdict in ((1, "right"), (2, "wrong"), (0, "wrong"), (np.array([1, 1, 1.1, 1]), "wrong")):
        report = bp.check_gradients(
            scaled, functools.partial(backward, times), X[:, 0], X[:, 1], finite_differences=True
        )
        assert report.verdict == verdict


def test_a_derivative_that_underflows():
    report = bp.check_gradients(lambda w: jnp.sum(w**3), lambda w: 3 * w**2 + 1e-310, np.array([1e-200, 2e-200]))
    assert report.verdict == "cannot tell" and "underflow" in report["dw"].diagnosis
