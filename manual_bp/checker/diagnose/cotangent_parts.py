"""The parts of its cotangent that a rule uses, found by giving it others: one output's alone, one element, the mean."""

from collections.abc import Callable, Iterator, Set

import jax
import numpy as np

from manual_bp.checker._report_line import Line
from manual_bp.checker.diagnose.evidence import UNKNOWN, Finding
from manual_bp.checker.diagnose.factor_products import EXTRA
from manual_bp.checker.judge.conventions import constant_ratio
from manual_bp.checker.judge.cut_graph import Arrays
from manual_bp.checker.judge.norms import relative_error
from manual_bp.checker.judge.traced_cost import TracedCost

IGNORED, MIXED, PART = "cotangent ignored", "another cotangent", "part of the cotangent"
TOLERANCE = 1e-6
SEED = 0x6D62  # not one that users draw their arguments from, so that no cotangent equals one of them

Lines = Callable[[Arrays], Arrays]  # the lines for a cotangent of each output, by its name

MISUSES = {
    "cotangent forgotten": "it is the same for twice the cotangent: the rule does not use it, or only its sign",
    "not linear in the cotangent": "it does not double with the cotangent, as every vjp must",
}


def explain_by_cotangents(lines: tuple[Line, ...], traced: TracedCost, rule: Lines) -> tuple[Line, ...]:
    """Replace guesses about the lines of a rule by the parts of the cotangent that they do not use."""
    doubted = {x.line for x in lines if _is_guess(x)}
    if not doubted:
        return lines
    shapes = {n: node.shape for n, node in traced.graph.nodes.items() if node.tapped}
    rng = np.random.default_rng(SEED)
    u = {n: rng.normal(size=shape) for n, shape in shapes.items()}
    cut, arrays = traced.cut_for(traced.graph.roots), traced.arguments.arrays
    wrong = {x.line[1:] for x in lines if x.returned and (x.line in doubted or x.verdict == "inherited")}
    findings = find_unused_cotangents(
        lambda u: jax.tree.map(np.asarray, rule(u)), lambda u: cut(arrays, u).lines, u, wrong
    )
    explained = wrong <= findings.keys()
    kept = (x for x in lines if x.returned or not explained)
    return tuple(_with_finding(x, findings.get(x.line[1:])) for x in kept)


def _is_guess(line: Line) -> bool:
    term = line.mistake == "missing term" and "through dout" in line.diagnosis
    return line.verdict == "wrong" and (line.mistake in (UNKNOWN, EXTRA) or line.line.startswith("dout") or term)


def _with_finding(line: Line, finding: Finding | None) -> Line:
    if finding is None:
        return line
    return line._replace(verdict="wrong", mistake=finding.mistake, diagnosis=finding.diagnosis, suggestion="")


def find_unused_cotangents(rule: Lines, true: Lines, u: Arrays, wrong: Set[str]) -> dict[str, Finding]:
    """Find, for each of these wrong lines, an output whose cotangent it ignores, mistakes or takes only a part of."""
    zeros = {name: np.zeros_like(a) for name, a in u.items()}
    findings: dict[str, Finding] = {}
    for name in u if len(u) > 1 else ():
        alone = zeros | {name: u[name]}
        found, expected = rule(alone), true(alone)
        for n in wrong:
            if n not in findings and not _same(found[n], expected[n]):
                finding = _compare(name, found[n], expected[n])
                findings |= {n: finding} if finding else {}
        for other in u:
            if other == name or u[other].shape != u[name].shape or not wrong - findings.keys():
                continue
            as_other = true(zeros | {other: u[name]})
            for n in wrong - findings.keys():
                if _same(found[n], expected[n]):
                    continue
                if _same(found[n], as_other[n]):
                    sentence = f"the cotangent d{name} is used as if it were d{other}"
                    findings[n] = Finding(MIXED, f"{sentence}: for d{name} alone, the line is what d{other} gives")
                elif _same(found[n] - expected[n], as_other[n]):
                    findings[n] = Finding(MIXED, f"the cotangent d{name} is also added to d{other}")
    if wrong - findings.keys():
        found, expected = rule(u), true(u)
        for part, changed in _parts(u):
            by_rule, by_truth = rule(changed), true(changed)
            for n in wrong - findings.keys():
                if found[n].any() and _same(by_rule[n], found[n]) and not _same(by_truth[n], expected[n]):
                    sentence = f"only {part} is used: the line stays the same whatever the rest of the cotangent is"
                    findings[n] = Finding(PART, sentence)
    return findings


def _compare(name: str, found: np.ndarray, expected: np.ndarray) -> Finding | None:
    if not found.any():
        return Finding(IGNORED, f"the cotangent d{name} is not used: for d{name} alone, the line is 0")
    c = constant_ratio(found, expected, TOLERANCE) if found.size > 1 else None
    if c is None:
        return None
    return Finding(MIXED, f"the cotangent d{name} is multiplied by {c:.6g}")


def _parts(u: Arrays) -> Iterator[tuple[str, Arrays]]:
    """Make cotangents that agree with u in the first element, the sum or the sums over an axis, and in nothing else."""
    for name, a in u.items():
        if a.size < 2:
            continue
        first = np.zeros_like(a)
        first.flat[0] = a.flat[0]
        yield f"the first element of d{name}", {**u, name: first}
        yield f"the sum of d{name}", {**u, name: np.full_like(a, a.mean())}
        for axis in range(a.ndim) if a.ndim > 1 else ():
            mean = np.broadcast_to(a.mean(axis=axis, keepdims=True), a.shape)
            yield f"the sum of d{name} over axis {axis}", {**u, name: mean}


def _same(found: np.ndarray, expected: np.ndarray) -> bool:
    return relative_error(found, expected) <= TOLERANCE


def find_misused_cotangents(lines: tuple[Line, ...], once: dict, twice: dict) -> tuple[Line, ...]:
    """Blame the lines that do not double with the cotangent, in which a vjp is linear."""
    found = {}
    for line in lines:
        a, b = (np.asarray(by.get(line.line, 0.0), np.float64) for by in (once, twice))
        if line.verdict in ("wrong", "inherited") and a.any() and relative_error(b, 2 * a) > 1e-6:
            key = "cotangent forgotten" if relative_error(b, a) <= 1e-6 else "not linear in the cotangent"
            found[line.line] = line._replace(verdict="wrong", mistake=key, diagnosis=MISUSES[key], suggestion="")
    if not found:
        return lines
    return tuple(found.get(line.line, line) for line in lines if line.returned)
