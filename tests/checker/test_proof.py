"""The proof of the checker, on enough networks for a thousand mistakes and a thousand correct passes."""

import io
import random
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from manual_bp.checker._check import report_on
from manual_bp.checker.diagnose.evidence import Finding
from reference import __main__ as command
from reference.checker_proof.planted_passes import Style, planted_pass, possible_mistakes
from reference.checker_proof.proof import prove_checker, traced_subject
from reference.checker_proof.subjects import random_subject
from reference.commands import checker
from reference.finite_differences import central_differences


@pytest.fixture(scope="module")
def proof():
    printed = io.StringIO()
    with jax.enable_x64(True):
        found = prove_checker(7, compare=False, stream=printed)
    assert str(found) in printed.getvalue() and "7 of 7 networks" in printed.getvalue()
    return found


def test_every_mistake_is_noticed_the_right_line_blamed_and_no_other(proof):
    assert len(proof.planted) >= 1000
    assert [str(p) for p in proof.planted if not (p.detected and p.line)] == []


def test_the_mistake_is_named(proof):
    assert len({p.mistake.key for p in proof.planted}) == 29
    assert sum(p.diagnosis for p in proof.planted) >= 0.95 * len(proof.planted)


def test_no_correct_pass_is_called_wrong(proof):
    assert proof.passes >= 1000
    assert [str(report) for report in proof.false_alarms] == []


@pytest.mark.parametrize("missed", [None, "prove_checker", "tabulate", "search_checker"])
def test_the_command_fails_if_a_mistake_is_missed(proof, monkeypatch, missed):
    beyond = SimpleNamespace(outcomes=[], false_alarms=list)
    found = {"prove_checker": proof, "tabulate": beyond, "search_checker": SimpleNamespace(failures=list)}
    if missed == "prove_checker":
        found[missed] = proof._replace(planted=(proof.planted[0]._replace(diagnosis=False),))
    elif missed == "tabulate":
        beyond.outcomes = [SimpleNamespace(verdict="right")]
    elif missed:
        found[missed].failures = lambda: ["a wrong pass called right"]
    for name, result in found.items():
        monkeypatch.setattr(checker, name, lambda result=result: result)
    assert command.main(["checker"]) == (missed is not None)


def test_the_proof_would_notice_a_checker_that_does_not_look(monkeypatch, deep):
    """Without local expectations, the checker also blames the lines that follow from a mistake."""
    from manual_bp.checker.diagnose import blamed_lines
    from manual_bp.checker.judge import verdicts

    monkeypatch.setattr(verdicts._Trial, "follows", property(lambda self: set()), raising=True)
    # the verdicts alone are looked at
    for name, found in (("identify_mistake", Finding("unknown", "")), ("_infer_mistake", None)):
        monkeypatch.setattr(blamed_lines, name, lambda *given, found=found: found)
    monkeypatch.setattr(blamed_lines, "_explain_by_paths", lambda evidence, wrong, found, findings: findings)
    found = prove_checker(2 if deep else 1, compare=False, stream=io.StringIO())
    assert all(p.detected for p in found.planted)
    assert sum(p.line for p in found.planted) < 0.8 * len(found.planted)


@pytest.mark.parametrize("number", [2, 3])
def test_independent_mistakes_are_each_named(number):
    """Factors are left out because they can cancel, and zeros because nothing is visible after them."""
    plain = {"missing g'", "g' at A", "g for g'", "g' kept", "wrong activation index", "Z for A", "dW for W",
             "updated W", "wrong axis", "unsummed", "extra term", "missing term"}  # fmt: skip
    checked = 0
    for seed in range(6):
        subject, traced = traced_subject(seed)
        rng = random.Random(seed)
        for average in ("output", "parameters"):
            style = Style("columns", average, "all")
            found = [m for m in possible_mistakes(subject, style)[style] if m.key in plain]
            for _ in range(6):
                planted = {m.line: m for m in rng.sample(found, min(len(found), 12))}
                chosen = rng.sample(sorted(planted.values()), min(number, len(planted)))
                try:
                    planted_pass(subject, style, *chosen)(subject.params, subject.X, subject.Y)
                except ValueError:
                    continue  # the two do not go together
                report = report_on(traced, planted_pass(subject, style, *chosen))
                named = {(line.line, line.mistake) for line in report.lines if line.verdict == "wrong"}
                assert named == {(m.line, m.key) for m in chosen}, f"{subject.name}, {average}: {chosen}\n{report}"
                checked += len(chosen) == number
    assert checked >= 30


def test_the_plants_are_right_without_mistakes():
    """The right pass agrees with central differences of the cost, so the proof does not rest on the checker."""
    subject = random_subject(4)
    lines = planted_pass(subject, Style("columns", "output", "parameters"))(subject.params, subject.X, subject.Y)

    def cost(**changed):
        return float(subject.cost(subject.params | changed, subject.X, subject.Y, lambda name, value: value))

    for name, p in subject.params.items():
        found = central_differences(lambda p, name=name: cost(**{name: p}), p)
        assert np.linalg.norm(lines["d" + name] - found) <= 1e-6 * np.linalg.norm(found)
