"""Quantities of a record in addition to the gradient, against autodiff, and the command that compares them."""

import jax
import pytest
from problems import BY_NAME, DEEP

import manual_bp as bp
from reference import __main__ as command
from reference.commands import quantities


@pytest.mark.parametrize(
    ("name", "weighted"), [("two layers, multilabel", True), ("two layers, one example", False), (DEEP.name, False)]
)
def test_every_quantity_against_autodiff(name, weighted):
    """A few of the grid, and more in test_planted_mistakes.py: `python -m reference quantities` takes it all."""
    problem = BY_NAME[name]
    found = quantities.errors(problem, 0, weighted)
    assert len(found) == 21 + 2 * (problem.m > 1)
    assert max(found.values()) <= quantities.BOUND, found


def test_command_says_what_failed(monkeypatch, capsys):
    right = bp.second_moment
    monkeypatch.setattr(bp, "second_moment", lambda *args: jax.tree.map(lambda x: x * (1 + 1e-9), right(*args)))
    assert command.main(["--only", "logistic regression, one", "quantities"]) == 1
    out = capsys.readouterr().out
    assert "FAILED: second moment 1.0e-09, second moment, sum 1.0e-09" in out
    assert "2 cases failed" in out
    monkeypatch.setattr(quantities, "BOUND", 1e-8)
    assert command.main(["--only", "logistic regression, one", "quantities"]) == 0
    assert "0 cases failed" in capsys.readouterr().out
    quantities._program.cache_clear()
