"""Diagnoses of a rule in the terms of its function, which has no lines between its arguments and its outputs.

A value that the checker calls Z1 is written as the code that computes it.
"""

import re

from manual_bp.checker.diagnose.corrected_code import in_jax
from manual_bp.checker.diagnose.evidence import HERE, Evidence, Finding
from manual_bp.checker.diagnose.source_lines import describe_source, describe_value
from manual_bp.checker.graph.places import calls_in_order


def in_function_terms(evidence: Evidence, wrong: list[str], findings: dict[str, Finding]) -> dict[str, Finding]:
    """Give the findings of inferred lines to the wrong lines that follow from them, and rename the values."""
    graph = evidence.graph
    inner = _calls_of(evidence, [n for n, node in graph.nodes.items() if not node.tapped])
    moved = _at_returned_lines(evidence, wrong, findings, inner)
    return {n: f._replace(diagnosis=in_jax(f.diagnosis)) for n, f in _with_code(moved, inner).items()}


def without_invented_names(evidence: Evidence, wrong: list[str], findings: dict[str, Finding]) -> dict[str, Finding]:
    """Write the code of a cost's value for a name that the checker made up, such as Z__."""
    nodes = evidence.graph.nodes.items()
    invented = [n for n, node in nodes if n.endswith("_") and not node.tapped and n not in evidence.returned]
    if not invented:
        return findings
    inner = _calls_of(evidence, invented)
    return _with_code(_at_returned_lines(evidence, wrong, findings, inner), inner)


def _calls_of(evidence: Evidence, names: list[str]) -> dict[str, tuple]:
    """Return the equation that computes each of these values, after the calls that it is inside of."""
    graph = evidence.graph
    calls = list(calls_in_order(graph.jaxpr, graph.into))
    return {n: calls[graph.nodes[n].equation] for n in names}


def _at_returned_lines(
    evidence: Evidence, wrong: list[str], findings: dict[str, Finding], inner: dict[str, tuple]
) -> dict[str, Finding]:
    """Give the findings of lines that the user does not have to the wrong lines that follow from them."""
    moved = {n: f for n, f in findings.items() if n not in inner or n in evidence.returned}
    for node in findings.keys() - moved.keys():
        fact = re.sub(r"; [^;]* follow from that$", "", findings[node].diagnosis)
        where = f"the derivative by {describe_source(inner[node])}"
        at = fact.replace(HERE, where) if HERE in fact else f"already in {where}: {fact}"
        follow = evidence.graph.descendants(node)
        moved |= {n: findings[node]._replace(diagnosis=at) for n in wrong if n in follow and n not in moved}
    return moved


def _with_code(findings: dict[str, Finding], calls: dict[str, tuple]) -> dict[str, Finding]:
    """Write the code that computes a value for its name."""
    names = {n: describe_value(calls[n]) for n in sorted(calls, key=len, reverse=True)}
    return {n: f._replace(diagnosis=_renamed(f.diagnosis, names)) for n, f in findings.items()}


def _renamed(text: str, names: dict[str, str]) -> str:
    """Write d and a name as the derivative by the code, and a name alone as the code, outside of code."""
    if not names:
        return text
    # a value may be called "a", but the article is followed by a word
    article = r"(?!(?<=\ba) [a-z])"
    pattern = rf"(?<![\w.\]])(d?)({'|'.join(map(re.escape, names))})(?!\w|\[\d){article}"
    parts = text.split("`")
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(pattern, lambda m: ("the derivative by " if m[1] else "") + names[m[2]], parts[i])
    return "`".join(parts)
