"""Quantities of a record in addition to the gradient, against autodiff, by the command that compares them all."""

import jax
from problems import BY_NAME

import manual_bp as bp
from reference import __main__ as command
from reference.commands import quantities


def test_every_quantity_against_autodiff():
    """One of the grid, without weights; with them in test_planted_mistakes.py. `python -m reference quantities` takes it all."""
    found = quantities.errors(BY_NAME["one-hot targets, a zero column"], 0, weighted=False)
    assert len(found) == 23
    assert max(found.values()) <= quantities.BOUND, found


def test_command_says_what_failed(monkeypatch, capsys):
    """Both ways of weights, on one example, which has two quantities less."""
    right, arguments = bp.second_moment, ["--only", "two layers, one", "quantities"]
    monkeypatch.setattr(bp, "second_moment", lambda *args: jax.tree.map(lambda x: x * (1 + 1e-9), right(*args)))
    assert command.main(arguments) == 1
    out = capsys.readouterr().out
    assert out.count("FAILED: second moment 1.0e-09, second moment, sum 1.0e-09\n") == 2
    assert "21 quantities in 2 cases of 4 seeds, 2 cases failed" in out
    monkeypatch.setattr(quantities, "BOUND", 1e-8)
    assert command.main(arguments) == 0
    assert "0 cases failed" in capsys.readouterr().out
    quantities._program.cache_clear()
