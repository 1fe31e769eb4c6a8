"""Bad input to the checker: the message names the line and what was given, and the other lines are still judged."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from two_layers import PARAMS, X, Y, check, cost, gradient, lines, replaced, untapped, verdicts

import manual_bp as bp


def test_unknown_name():
    report = check(cost, lambda *a: {"dW3": np.ones(3), "dW1": lines(*a)["dW1"], "Z1": np.ones(2)}, PARAMS, X, Y)
    assert verdicts(report) == {"dW1": "right", "dW3": "cannot tell", "Z1": "cannot tell"}
    assert "did you mean dW" in report["dW3"].diagnosis and "did you mean dZ1" in report["Z1"].diagnosis


def test_wrong_shape():
    report = check(cost, replaced(dW1=lambda d: d["dW1"][:, :3], db2=lambda d: d["db2"][:, 0]), PARAMS, X, Y)
    wrong = {line.line: line.mistake for line in report.lines if line.verdict == "wrong"}
    assert wrong == {"dW1": "wrong shape", "db2": "wrong shape"}
    assert "(6, 3)" in report["dW1"].diagnosis and "(6, 4)" in report["dW1"].diagnosis
    assert "keepdims" in report["db2"].diagnosis


def test_backward_that_raises():
    def backward(params, X, Y):
        A = {0: X, 1: np.tanh(params["W1"] @ X + params["b1"])}
        dZ2 = 2 * (params["W2"] @ A[1] + params["b2"] - Y)
        dW2 = -dZ2 @ A[1].T / X.shape[1]
        dA1 = params["W2"].T @ dZ2
        dZ1 = dA1 * (1 - A[1] ** 2)
        dW1 = (
            dZ1 @ X  # a transpose is missing
        )
        return {"dW2": dW2, "dW1": dW1}

    report = check(cost, backward, PARAMS, X, Y)
    assert verdicts(report) == {
        "dZ2": "right", "dW2": "wrong", "dA1": "right", "dZ1": "right", "dW1": "wrong"
    }  # fmt: skip
    assert report["dW1"].mistake == "raised" and report["dW1"].suggestion == "dW1 = dZ1 @ X.T / m"
    for part in ("`dW1 = dZ1 @ X`", "ValueError", "dZ1 (6, 7)", "X (4, 7)"):
        assert part in report["dW1"].diagnosis


@pytest.mark.parametrize("index", ['grads[f"dW{l}"]', "dW[l]"])
def test_raised_at_an_indexed_line(index, tmp_path):
    source = f"def backward(params, X, Y):\n    grads, dW, l = {{}}, {{}}, 1\n    {index} = X @ X\n"
    path = tmp_path / "mine.py"
    path.write_text(source)
    namespace: dict = {}
    exec(compile(source, str(path), "exec"), namespace)
    params = PARAMS if "grads" in index else {"W": [PARAMS["W1"], PARAMS["W1"]]}
    of = untapped if "grads" in index else lambda p, X, Y: jnp.sum((p["W"][1] @ X) ** 2)
    report = check(of, namespace["backward"], params, X, Y)
    assert [line.line for line in report.lines] == ["dW1" if "grads" in index else "dW[1]"]


def test_raised_at_no_line():
    def backward(params, X, Y):
        dW1 = lines(params, X, Y)["dW1"]
        return {"dW1": dW1, "dW2": {}["dB2"]}

    report = check(cost, backward, PARAMS, X, Y)
    assert report.verdict == "wrong" and report["dW1"].verdict == "right"
    assert "KeyError" in report["backward"].diagnosis


def test_raised_in_a_helper():
    def helper(A):
        return A @ A

    def backward(params, X, Y):
        dW2 = lines(params, X, Y)["dW2"]
        dW1 = helper(X)
        return {"dW2": dW2, "dW1": dW1}

    report = check(cost, backward, PARAMS, X, Y)
    assert verdicts(report) == {"dW2": "right", "dW1": "wrong"}
    assert "`dW1 = helper(X)`" in report["dW1"].diagnosis


def test_no_array_of_real_numbers():
    no_arrays = replaced(dW1=lambda d: None, dW2=lambda d: d["dW2"] + 1j, db1=lambda d: "no array")
    report = check(cost, no_arrays, PARAMS, X, Y)
    assert report.verdict == "cannot tell" and report["dZ1"].verdict == "right"
    assert "NoneType" in report["dW1"].diagnosis and "complex128" in report["dW2"].diagnosis
    assert "expected an array of real numbers; got str" in report["db1"].diagnosis
    gradients = check(cost, lambda *a: gradient(*a) | {"b1": None}, PARAMS, X, Y)
    assert gradients["db1"].verdict == "cannot tell"


@pytest.mark.parametrize("of", [bp.check_gradients, bp.assert_gradients_match])
@pytest.mark.parametrize(
    "args, message",
    [
        ((3, 4), r"cost must be a function of \(params, \*args\); got int; call {}\(cost, backward, params, \*args\)"),
        ((cost, 4, PARAMS), r"backward must be a function of \(params, \*args\); got int; call {}"),
        ((cost, lines(PARAMS, X, Y), PARAMS, X, Y), "backward must be a function .*; got dict"),
        ((cost, lines), r"params must be a pytree of arrays; got nothing; call {}"),
    ],
)
def test_refused_calls(of, args, message):
    with pytest.raises(TypeError, match=message.format(of.__name__)):
        of(*args)


def scanned(p, X, Y, tap):
    return jax.lax.scan(lambda c, x: (c + tap("Z1", x), None), 0.0, p["b1"][:, 0])[0]


USUAL = (PARAMS, X, Y)


@pytest.mark.parametrize(
    "error, message, args",
    [
        (TypeError, "without b1", (cost, lambda *a: {"W1": 0, "W2": 0, "b2": 0}, *USUAL)),
        (TypeError, "a dict of lines, .* or a pytree like params", (cost, lambda *a: [np.ones(2)] * 4, *USUAL)),
        (ValueError, "backward raised ZeroDivisionError at .*: .*by zero", (cost, lambda *a: 1 // 0, *USUAL)),
        (ValueError, "returned no lines", (cost, lambda *a: {}, *USUAL)),
        (ValueError, r"one floating-point scalar; it returned float64\[3, 7\]",
         (lambda p, X, Y: p["W2"] @ (p["W1"] @ X) - Y, lines, *USUAL)),
        (ValueError, "has the name of a parameter", (lambda p, X, Y, t: jnp.sum(t("W1", p["W1"])), lines, *USUAL)),
        (ValueError, '"Z1".* is called twice',
         (lambda p, X, Y, tap: tap("Z1", tap("Z1", jnp.sum(p["W1"]))), lines, *USUAL)),
        (ValueError, '"Z1".* inside a loop', (scanned, lines, *USUAL)),
        (TypeError, "the name first", (lambda p, X, Y, tap: tap(p["W1"], "Z1"), lines, *USUAL)),
        (ValueError, "no floating-point array", (lambda p: jnp.sum(p["n"]) * 1.0, lambda p: {}, {"n": np.arange(3)})),
        (TypeError, "complex", (lambda p: jnp.sum(jnp.abs(p["w"])), lambda p: {}, {"w": np.ones(3, complex)})),
    ],
)  # fmt: skip
def test_refused(error, message, args):
    with pytest.raises(error, match=message):
        check(*args)


def test_refused_options():
    with pytest.raises(ValueError, match="tolerance must be a positive number"):
        check(cost, lines, *USUAL, tolerance=0)
    with pytest.raises(ValueError, match="order must be 1, or 2"):
        check(cost, lines, *USUAL, order=3)


@pytest.mark.parametrize(
    ("p", "x", "line"),
    [
        ({"a": 1.5, "b": 2}, 0.3, "db"),
        ({"a": np.array([1, 2]), "b": 0.5}, 0.3, "da"),
        ({"a": 1.5, "b": 0.5}, np.array(3), "dx"),
    ],
)
def test_a_line_of_integers_is_not_dropped(p, x, line):
    def backward(p, x):
        r = p["a"] * x - p["b"]
        true = {"da": 2 * r * x, "db": -2 * np.sum(r)}
        return {name: d for name, d in true.items() if name != line} | {
            line: 1e6 * np.ones(np.shape(x if line == "dx" else p[line[1]]))
        }

    report = bp.check_gradients(lambda p, x: jnp.sum((p["a"] * x - p["b"]) ** 2), backward, p, x)
    assert report[line].verdict == "cannot tell" == report.verdict
    assert f"to judge this line, pass {line[1]} as floats" in report[line].diagnosis
    with pytest.raises(AssertionError, match="could not be verified"):
        bp.assert_gradients_match(lambda p, x: jnp.sum((p["a"] * x - p["b"]) ** 2), backward, p, x)


def test_boolean_targets_and_wrong_lines():
    def cost(params, X, Y):
        return jnp.mean(jnp.sum((params["W"] @ X - Y) ** 2, axis=0))

    report = bp.check_gradients(cost, lambda p, X, Y: {"dW": (p["W"] @ X) @ X.T}, {"W": PARAMS["W1"][:3]}, X, Y > 0)
    assert report["dW"].verdict == "wrong"


def test_numpy_arrays_that_a_loop_of_the_cost_indexes():
    def cost(params, X):
        return jnp.sum(jax.lax.fori_loop(0, 7, lambda i, s: jnp.tanh(params["W"] @ X[:, i] + s), jnp.zeros(6)))

    report = bp.check_gradients(cost, lambda p, X: {"dW": X.sum(1) * p["W"]}, {"W": PARAMS["W1"]}, X)
    assert report["dW"].verdict == "wrong"


def test_a_rule_of_another_shape():
    add = jax.custom_vjp(lambda x, b: x + b)
    add.defvjp(lambda x, b: (x + b, None), lambda _, u: (u, u))
    report = bp.check_custom_vjp(add, X, X[:, :1])
    assert report.verdict == "wrong" and report["the rule"].mistake == "wrong shape"
    assert "output[1]" in report["the rule"].diagnosis and "[4,1]" in report["the rule"].diagnosis


def test_a_column_less_a_vector_is_named_and_all_else_follows():
    y = Y[0]

    def cost(params, X, y, tap):
        return jnp.mean((tap("A", X.T @ params["w"])[:, 0] - y) ** 2)

    def backward(params, X, y):
        dA = 2 / len(y) * (X.T @ params["w"] - y)
        return {"dA": dA, "dw": X @ dA}

    report = bp.check_gradients(cost, backward, {"w": PARAMS["W1"][:1].T}, X, y)
    assert report["dA"].mistake == "broadcast" and "y[:, None]" in report["dA"].diagnosis
    assert report["dw"].verdict == "inherited"


@pytest.mark.parametrize("form", ["(cost, aux)", "shape (1,)", "(cost, gradient)"])
def test_other_forms_that_are_read(form):
    def other_cost(params, X, Y):
        c = untapped(params, X, Y)
        return (c, {"a": X}) if form == "(cost, aux)" else c[None] if form == "shape (1,)" else c

    def backward(sign, *args):
        found = {name: sign * d for name, d in gradient(*args).items()}
        return (np.float64(0.3), found) if form == "(cost, gradient)" else found

    for sign, verdict in ((1, "right"), (-1, "wrong")):
        assert check(other_cost, functools.partial(backward, sign), PARAMS, X, Y).verdict == verdict
