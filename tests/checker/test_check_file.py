"""`python -m manual_bp check FILE.py`, the check of what a file defines."""

import sys

import pytest

from manual_bp.__main__ import main

COST = """
import dataclasses
import numpy as np
from shapes import M

@dataclasses.dataclass
class Settings:
    n: "int" = 1

def cost(W, X, Y, tap):
    return ((W @ X - Y) ** 2).sum(axis=0).mean()
"""
BACKWARD = """
def backward(W, X, Y):
    return 2 * (W @ X - Y) @ X.T / M
"""
INPUTS = """
def inputs():
    rng = np.random.default_rng(1)
    return rng.normal(size=(2, 3)), rng.normal(size=(3, M)), rng.normal(size=(2, M))
"""
RULE = """
import jax
import numpy as np

square = jax.custom_vjp(lambda x: x**2)
square.defvjp(lambda x: (x**2, x), lambda x, u: (2 * x * u,))
"""
OF_RULE = "\ndef inputs(): return np.arange(3.0)\n"
FILE = COST + BACKWARD + INPUTS


@pytest.fixture
def check(tmp_path, capsys, monkeypatch):
    """Returns the exit status, the standard output and the standard error for a file of this text."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "shapes.py").write_text("M = 5\n")

    def checked(text):
        (tmp_path / "mine.py").write_text(text)
        return main(["check", str(tmp_path / "mine.py")]), *capsys.readouterr()

    yield checked
    for module in ("checked_file", "shapes"):
        sys.modules.pop(module, None)


@pytest.mark.parametrize(
    ("text", "status", "headline"),
    [
        (FILE, 0, "right: 1 line"),
        (FILE.replace(" / M", ""), 1, "wrong: dW (missing 1/m)"),
        (FILE.replace("return 2 * ", "return 0 * ").replace("Y) **", "Y) * 0 **"), 2, "cannot tell: dW"),
        (f"{RULE}f = square\n{OF_RULE}", 0, "right: 1 line"),
        (f"{RULE.replace('2 * x * u', '2 * x')}rule = square\nf = None\n{OF_RULE}", 1, "wrong: dx (cotangent"),
    ],
)
def test_the_verdict_is_the_status(check, text, status, headline):
    found, out, err = check(text)
    assert (found, err) == (status, "") and out.startswith(headline), out


@pytest.mark.parametrize(
    ("text", "missing", "to_write"),
    [
        (COST + INPUTS, "missing: backward.", "def backward(W, X, Y):"),
        (COST + BACKWARD, "missing: inputs.", "    return W, X, Y  #"),
        (BACKWARD + "\ncost = 3.0\n" + INPUTS, "missing: cost.", "def cost(W, X, Y):"),
        (RULE, "missing: rule, inputs.", "rule = square  #"),
        ("f = max\n" + BACKWARD, "missing: cost, inputs.", "def cost(W, X, Y):"),
        ("", "missing: cost, backward, inputs.", "def backward(params, X, Y):"),
    ],
)
def test_what_is_missing_is_written_out(check, text, missing, to_write):
    status, out, err = check(text)
    assert (status, out) == (2, "")
    assert "mine.py is not checked: expected the functions cost, backward and inputs, or rule (or f) and inputs" in err
    assert missing in err and f"\n{to_write}" in err


@pytest.mark.parametrize(
    ("text", "lines", "last"),
    [
        ("import sys\nsys.exit(0)\n", ["sys.exit(0)"], "SystemExit: 0"),
        ("def cost(W:\n    pass\n", ["def cost(W:"], "SyntaxError: '(' was never closed"),
        (FILE.replace("np.random", "__import__('json').loads('')"), [".loads('').default"], "json.decoder.JSON"),
        (FILE.replace("W @ X", "X @ W", 1), ["return ((X @ W"], "TypeError: dot_general"),
        (FILE.replace("return 2", "return None + 2"), [], "ValueError: backward raised TypeError at"),
        (FILE.replace(".mean()", ""), [], "ValueError: cost must return one floating-point scalar"),
    ],
)
def test_an_error_shows_lines_of_the_user_only(check, text, lines, last):
    status, out, err = check(text)
    assert (status, out) == (2, "") and err.splitlines()[-1].startswith(last), err
    assert "manual_bp" not in err and "site-packages" not in err and "JAX_TRACEBACK" not in err
    assert err.count(", line ") == len(lines) + ("raised" in last) and all(line in err for line in lines), err


def test_inputs_in_a_list_are_refused_and_a_rule_that_is_left_out_is_named(check):
    status, _, err = check(COST + BACKWARD + "\ndef inputs(): return [1.0]\n")
    assert status == 2 and "must return a tuple, as by `return params, X, Y`; it returned a list" in err
    status, out, err = check(f"{FILE}rule = print\n")
    assert (status, out[:5]) == (0, "right") and "note: rule is not checked" in err


def test_no_file(tmp_path, capsys):
    for path, came in ((tmp_path, "this is a folder"), (tmp_path / "mine.py", "there is none")):
        assert main(["check", str(path)]) == 2
        assert f"{path} is not checked: expected a Python file; {came}" in capsys.readouterr().err
