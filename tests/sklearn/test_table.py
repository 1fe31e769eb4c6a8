"""`python -m reference estimators`, on less data."""

import numpy as np
import pytest

from reference import __main__ as command
from reference.commands import estimators


@pytest.mark.parametrize("name", ["wine", "diabetes"])
def test_as_good_as_scikit_learns(name):
    """The same scores with adam, nearly the same in float32, and with L-BFGS no difference but noise."""
    adam, narrow, lbfgs = estimators.rows(seeds=range(3), data=[name])
    np.testing.assert_allclose(adam.ours, adam.theirs, atol=1e-9)
    np.testing.assert_allclose(narrow.ours, narrow.theirs, atol=0.03)
    assert all(row.equal() for row in (adam, narrow, lbfgs))


def test_the_table(monkeypatch, capsys):
    monkeypatch.setattr(estimators, "SEEDS", (0, 1))
    ours = np.array([0.5, 0.75])
    rows = [estimators.Row("wine", "adam", ours - d, ours, (1.0, 2.0, 0.5)) for d in (0.0, 0.01, np.array([0.4, 0.41]))]
    monkeypatch.setattr(estimators, "rows", lambda: iter(rows))
    assert command.main(["estimators"]) == 1
    out = capsys.readouterr().out
    assert "0.6250 ± 0.1768  0.6250 ± 0.1768  +0.0000 [+0.0000, +0.0000]" in out
    assert out.count("DIFFERENT") == 1 and "1 differ by more than noise" in out
    monkeypatch.setattr(estimators, "rows", lambda: iter(rows[:2]))
    assert command.main(["estimators"]) == 0
    with pytest.raises(SystemExit):
        command.main(["--only", "relu", "estimators"])
