"""The lines to blame, returned or inferred from those returned, and their mistakes."""

import copy
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from manual_bp.checker.diagnose.constant_factors import factor_mistake, fitted_multiple
from manual_bp.checker.diagnose.evidence import HERE, UNKNOWN, Evidence, Finding
from manual_bp.checker.diagnose.factor_products import FACTORS
from manual_bp.checker.diagnose.function_terms import in_function_terms, without_invented_names
from manual_bp.checker.diagnose.identify_mistake import candidates, guess_of_multiple, identify_mistake
from manual_bp.checker.diagnose.norm_equation import NORM
from manual_bp.checker.diagnose.path_mistakes import path_finder
from manual_bp.checker.judge.cut_graph import Arrays
from manual_bp.checker.judge.norms import norm


def blame_lines(evidence: Evidence, wrong: list[str], found: Arrays) -> dict[str, Finding]:
    """Return a finding for each line to blame. A wrong line without one follows from a line that has one.

    If all lines that follow from a node without a returned line are wrong, one mistake there is likelier than one in
    each, so it is looked for first.
    """
    findings: dict[str, Finding] = {}
    as_returned = copy.copy(evidence)
    unexplained = {n: found[n] for n in wrong}
    shaped = {n for n in wrong if found[n].shape == evidence.expected[n].shape}
    for nodes, fed in _unreturned_nodes(evidence):
        if len(fed) > 1 and fed <= unexplained.keys() & shaped:
            inferred = _infer_mistake(evidence, nodes, {n: found[n] for n in fed})
            if inferred:
                finding, follow = inferred.finding, _join(evidence, inferred.explained)
                if len(inferred.explained) > 1:
                    finding = finding._replace(diagnosis=f"{finding.diagnosis}; {follow} follow from that")
                findings[inferred.node] = finding
                evidence.assume(inferred.node, inferred.line)
                for n in inferred.explained:
                    del unexplained[n]
    own = {n: identify_mistake(evidence, n, line) for n, line in unexplained.items()}
    for nodes, fed in _unreturned_nodes(evidence):
        given = evidence.graph.of_rule and evidence.graph.nodes[nodes[0]].tapped  # the cotangent
        if len(fed) > 1 and fed <= own.keys() and all(own[n].mistake == UNKNOWN for n in fed) and not given:
            cause = f"a mistake in {HERE}, or upstream of it, would explain that"
            findings[nodes[0]] = Finding(UNKNOWN, f"{_join(evidence, fed)} are wrong together; {cause}")
            own = {n: f for n, f in own.items() if n not in fed}
    for line, finding in own.items():
        before = None if finding.exact else _mistake_between(evidence, line, found[line])
        findings[line] = before if before and (before.exact or finding.mistake == UNKNOWN) else finding
    findings = _explain_by_paths(as_returned, wrong, found, findings)
    if evidence.graph.of_rule:
        return in_function_terms(evidence, wrong, findings)
    return without_invented_names(evidence, wrong, findings)


def _explain_by_paths(
    evidence: Evidence, wrong: list[str], found: Arrays, findings: dict[str, Finding]
) -> dict[str, Finding]:
    """Replace findings that are only guesses, or that name lines the user does not have, by mistakes in a path."""
    unnamed = {n for n, node in evidence.graph.nodes.items() if n not in evidence.returned and not node.tapped}

    def unclear(n: str, finding: Finding) -> bool:
        through = finding.diagnosis.removeprefix("the term that comes through d").split(" ")[0]
        names = finding.mistake == "missing term" and through in unnamed
        vague = finding.mistake in (UNKNOWN, NORM) or not (finding.exact or finding.mistake in FACTORS)
        return vague or (n in unnamed and evidence.graph.of_rule) or names

    doubted = {n for n, finding in findings.items() if unclear(n, finding)}
    shaped = {n: found[n] for n in evidence.found if np.isfinite(found[n]).all()}
    if not doubted or not wrong or not set(wrong) <= shaped.keys():
        return findings
    try:
        find = path_finder(evidence)
    except Exception:  # JAX may not take a part of the graph apart, and a diagnosis must not cost the verdict
        return findings
    path = find(shaped)
    if path:
        return dict.fromkeys(wrong, path)
    own = {n: find({n: shaped[n]}) for n in wrong if n in doubted}
    return findings | {n: path for n, path in own.items() if path}


class _InferredMistake(NamedTuple):
    node: str
    finding: Finding
    line: np.ndarray
    explained: set[str]


def _unreturned_nodes(evidence: Evidence) -> list[tuple[list[str], set[str]]]:
    """Group the nodes without a returned line by the returned lines that follow from them, the nearest node first."""
    groups: list[tuple[list[str], set[str]]] = []
    for node in reversed(evidence.graph.nodes):
        if node not in evidence.returned:
            fed = evidence.graph.returned_descendants(node, evidence.returned)
            if groups and groups[-1][1] == fed:
                groups[-1][0].insert(0, node)
            else:
                groups.append(([node], fed))
    return groups


def _infer_mistake(evidence: Evidence, nodes: list[str], found: Arrays) -> _InferredMistake | None:
    """Find one mistake at one of these nodes that explains all of these lines, some of them up to a factor."""
    first = nodes[0]
    expected = evidence.expected[first]
    without = evidence.lines_given(first, np.zeros_like(expected))
    c = _fitted_factor(evidence, first, expected, found, without)
    if c is not None:
        return _InferredMistake(first, factor_mistake(evidence, first, c), c * expected, set(found))
    multiple = None
    for node, key, sentence, line in _possible_mistakes(evidence, nodes, found):
        c = _fitted_factor(evidence, node, line, found, without)
        if c is not None and abs(c - 1) <= 1e-6:
            return _InferredMistake(node, Finding(key, sentence), line, set(found))
        if c is not None and multiple is None:
            multiple = _InferredMistake(node, guess_of_multiple(evidence, node, key, sentence, c), c * line, set(found))
        if c is None and multiple is None:
            each = {n: _fitted_factor(evidence, node, line, {n: f}, without) for n, f in found.items()}
            exact = {n for n, k in each.items() if k is not None and abs(k - 1) <= 1e-6}
            if exact and all(k is not None for k in each.values()):
                multiple = _InferredMistake(node, Finding(key, sentence), line, exact)
    return multiple


def _possible_mistakes(
    evidence: Evidence, nodes: list[str], found: Arrays
) -> Iterator[tuple[str, str, str, np.ndarray]]:
    """List the mistakes that can be made at these nodes: the node, the key, the sentence, and the resulting line."""
    for node in nodes:
        for c in candidates(evidence, node):
            if not evidence.may_search(0.5):
                return  # the rest is for the lines that were returned
            if c.line.shape != evidence.expected[node].shape:
                continue
            if c.direction is None:
                yield node, c.key, c.sentence, c.line
                continue
            base, moved = (evidence.lines_given(node, line) for line in (c.line, c.line + c.direction))
            directions = [moved[n] - base[n] for n in found]
            k = fitted_multiple(evidence, list(found.values()), [base[n] for n in found], directions)
            if k is not None and c.allows(k):
                yield node, c.key, c.sentence.format(k=f"{k:.4g}"), c.line + k * c.direction


def _fitted_factor(evidence: Evidence, node: str, line: np.ndarray, found: Arrays, without: Arrays) -> float | None:
    """Return the c for which all lines found follow from c times `line` at the node, or None."""
    made = evidence.lines_given(node, line)
    directions = [made[n] - without[n] for n in found]
    if not any(d.any() for d in directions):
        return None
    lines = [without[n] for n in found]
    triples = zip(found.values(), lines, directions, strict=True)
    if all(norm(f - w) <= evidence.tolerance * norm(d) for f, w, d in triples):
        return 0.0
    return fitted_multiple(evidence, list(found.values()), lines, directions)


def _mistake_between(evidence: Evidence, line: str, found: np.ndarray) -> Finding | None:
    """Find a mistake at a node without a returned line, if this line is the only one that follows from the node."""
    nodes = next((nodes for nodes, fed in _unreturned_nodes(evidence) if fed == {line}), None)
    if nodes is None or found.shape != evidence.expected[line].shape:
        return None
    inferred = _infer_mistake(evidence, nodes, {line: found})
    if inferred is None:
        return None
    fact = f"already in d{inferred.node}: {inferred.finding.diagnosis}"
    return inferred.finding._replace(diagnosis=fact, at=inferred.node)


def _join(evidence: Evidence, lines: set[str]) -> str:
    return ", ".join("d" + n for n in evidence.graph.backward_order() if n in lines)
