"""The gradient checker on published sets of equations, right and misprinted, and the command that runs it."""

import contextlib
import functools
import io
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from manual_bp.checker import Report
from reference import __main__ as command
from reference.checker_proof import printed_sets, scikit_learn
from reference.checker_proof import published_equations as published
from reference.checker_proof.printed_sets import G, PrintedSet, misprinted_sets, right_sets, scikit_learn_sets
from reference.commands import published as published_command

SETS = [*right_sets(), *misprinted_sets()]
MATRICES = [n for n, printed in enumerate(SETS) if printed.mistakes and printed.cost is not printed_sets.chain_cost]


class Ran(NamedTuple):
    status: int
    out: str
    reports: list[Report]  # in the order of the sets; an empty one where the checker raised


@pytest.fixture(scope="module")
def ran() -> Iterator[Ran]:
    """Run the command once, and keep its reports."""
    reports = []

    def check_gradients(*args: Any) -> Report:
        reports.append(Report((), (), (), "", 0.0))
        reports[-1] = check(*args)
        return reports[-1]

    check, out = published_command.check_gradients, io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(published_command, "check_gradients", check_gradients)
        status = command.main(["published"])
    yield Ran(status, out.getvalue(), reports)


@pytest.mark.parametrize("number", range(len(SETS)), ids=[printed.text for printed in SETS])
def test_verdict_line_and_mistake(ran, number):
    printed, report = SETS[number], ran.reports[number]
    assert printed.surprises(report) == [], report  # that these are noticed is tested below


def test_the_sets_are_those_that_are_known():
    assert sum(not printed.mistakes for printed in SETS) == 6
    assert {mistake for printed in SETS for mistake in printed.mistakes.values()} == {
        "wrong activation index", "dW for W", "missing transpose", "wrong axis",
        "cost sign", "missing factor", "raised", "broadcast",
    }  # fmt: skip


def names(printed: PrintedSet) -> dict[str, Any]:
    """Return the results of the right equations by their names on the page, in which a correction is written."""
    params, X, Y = printed.data
    known: dict[str, Any] = {"m": X.shape[1], "X": X, "Y": Y} | params
    if not isinstance(printed.cost, functools.partial):
        return known | published.logistic_regression_vectorised(params["W"], params["b"], X, Y)
    g = printed.cost.keywords["g"]
    W, b = ([params[k][l] if k in params else params[f"{k}{l}"] for l in range(1, len(g) + 1)] for k in "Wb")
    layers = list(zip(W, b, strict=True))
    q = published.deep_network(layers, X, Y, [G[name] for name in g], lambda A, Y: -Y / A + (1 - Y) / (1 - A))
    for kind in ("Z", "A", "dZ", "dA", "dW", "db"):
        known[kind] = {l: q[f"{kind}{l}"] for l in range(len(g) + 1) if f"{kind}{l}" in q}
    return known | q


@pytest.mark.parametrize("number", MATRICES, ids=[SETS[number].text for number in MATRICES])
def test_a_correction_gives_the_right_line(ran, number):
    printed = SETS[number]
    for line in ran.reports[number].lines:
        if line.verdict == "wrong" and line.mistake != "raised":
            known = names(printed)
            target, correction = line.suggestion.split(" = ")
            assert target == line.line
            right, found = (eval(text, {"np": np}, known) for text in (target, correction))
            assert found.shape == right.shape, line.suggestion
            np.testing.assert_allclose(found, right, rtol=1e-10, atol=1e-14, err_msg=line.suggestion)


def test_the_correction_for_one_neuron_per_layer(ran):
    assert ran.reports[len(SETS) - 1]["dw2"].suggestion.split("\n")[0] in ("dw2 = dz2 * a1", "dw2 = a1 * dz2")


def test_a_product_that_shapes_refuse_is_quoted(ran):
    reports = {printed.text: report for printed, report in zip(SETS, ran.reports, strict=False)}
    refused = reports["dw[l] = 1/m A[l-1]^T delta[l]"]["dW[2]"]
    assert "dW[l] = 1 / m * A[l - 1].T @ delta[l]" in refused.diagnosis
    refused = reports["dZ1 = dW2 * dZ2 * sigmoid'(Z1)"]["dZ1"]
    assert "(1,7) (1,11)" in refused.diagnosis


def test_the_factor_in_scikit_learn(ran):
    pytest.importorskip("sklearn")
    for printed, report in zip(scikit_learn_sets(), ran.reports[len(SETS) :], strict=True):
        assert printed.surprises(report) == []
        if printed.mistakes:
            assert not report["dZ3"].returned
            assert report["dZ3"].diagnosis.startswith("it is 3 times what it should be")
            assert {line.verdict for line in report.lines} == {"wrong", "inherited"}


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_the_cost_is_the_loss_that_scikit_learn_returns(alpha):
    pytest.importorskip("sklearn")
    params, X, y = next(scikit_learn_sets()).data
    loss, gradient = scikit_learn.loss_and_gradient(params, X, y, alpha)
    assert loss == pytest.approx(float(scikit_learn.cost(params, X, y, lambda _, v: v, alpha=alpha)), rel=1e-13)
    assert jax.tree.map(np.shape, gradient) == jax.tree.map(np.shape, params)
    factor = scikit_learn.gradient_over_difference(params, X, y, alpha)
    assert factor == pytest.approx(3, rel=1e-7) or factor == pytest.approx(1, rel=1e-7)


def test_the_command_prints_a_paragraph_for_each_set(ran):
    assert ran.status == 0
    *lines, empty, last = ran.out.splitlines()
    number = len(ran.reports)
    assert empty == "" and last.startswith(f"{number} sets, 0 without the verdict that they should get, in ")
    assert sum(line.startswith(("  right  ", "  wrong  ")) for line in lines) == number
    assert "A. Ng, Neural Networks and Deep Learning, course notes" in lines
    at = lines.index("  wrong  dZ[L-1] = dW[L]^T dZ[L] g'(Z[L-1])")
    assert lines[at + 1].split(maxsplit=1)[0] == "dZ[1]"
    assert "dW for W" in lines[at + 1] and "write: dZ[1] = (W[2].T @ dZ[2]) * " in lines[at + 1]
    assert "SURPRISE" not in ran.out


@pytest.fixture
def nothing(monkeypatch):
    for name in ("right_sets", "misprinted_sets", "scikit_learn_sets"):
        monkeypatch.setattr(published_command, name, lambda: ())


def test_the_command_fails_on_a_verdict_that_it_should_not_get(capsys, monkeypatch, nothing):
    first, *_ = SETS
    (misprint,) = (printed for printed in SETS if printed.text.endswith("dz = a - y"))
    sets = [
        first._replace(mistakes={"dZ": "missing g'"}),
        first._replace(average=False),
        misprint._replace(mistakes={}),
    ]
    monkeypatch.setattr(published_command, "misprinted_sets", lambda: sets)
    assert command.main(["published"]) == 1
    out = capsys.readouterr().out
    assert "SURPRISE: dZ should be wrong: missing g'\n         SURPRISE: the verdict should be wrong" in out
    assert "SURPRISE: the average is not taken at dW and db" in out
    assert "SURPRISE: dA should not be to blame\n         SURPRISE: the verdict should be right" in out
    assert "3 sets, 3 without the verdict" in out


def test_the_command_goes_on_without_scikit_learn(capsys, monkeypatch, nothing):
    monkeypatch.setattr(published_command, "scikit_learn_sets", scikit_learn_sets)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert command.main(["published"]) == 0
    out = capsys.readouterr().out
    assert "scikit-learn is not installed" in out and "pip install manual_bp[sklearn]" in out
    assert "0 sets, 0 without" in out


def test_only_is_for_the_cross_check(capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(["--only", "deep", "published"])
    assert stop.value.code == 2
    assert "--only is for the cases of the cross-check" in capsys.readouterr().err
