"""Which line is to blame, and for what: the lines that were returned, and those that can only be inferred from them."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from manual_bp.checker._catalogue import candidates
from manual_bp.checker._factor import Finding, scaled, times
from manual_bp.checker._match import UNKNOWN, coefficient, own_mistake
from manual_bp.checker._scene import Scene


def explain(scene: Scene, wrong: list[str], found: Mapping[str, np.ndarray]) -> dict[str, Finding]:
    """Findings by the line to blame. A wrong line that has none here follows from one that has.

    Where several lines are wrong together and are all that follows from an intermediate whose own line was not
    returned, one mistake there is likelier than one in each: it is looked for first.
    """
    findings: dict[str, Finding] = {}
    unexplained = {n: found[n] for n in wrong}
    shaped = {n for n in wrong if found[n].shape == scene.expected[n].shape}
    for nodes, fed in _hidden_groups(scene):
        if len(fed) > 1 and fed <= unexplained.keys() & shaped:
            inferred = _inferred(scene, nodes, {n: found[n] for n in fed})
            if inferred:
                findings[inferred.node] = inferred.finding
                scene.assume(inferred.node, inferred.line)
                for n in inferred.explained:
                    del unexplained[n]
    own = {n: own_mistake(scene, n, line) for n, line in unexplained.items()}
    for nodes, fed in _hidden_groups(scene):
        if len(fed) > 1 and fed <= own.keys() and all(own[n].mistake == UNKNOWN for n in fed):
            findings[nodes[0]] = Finding(
                UNKNOWN,
                f"{_listed(scene, fed)} are wrong together; a mistake here or before here would explain it",
            )
            own = {n: f for n, f in own.items() if n not in fed}
    for line, finding in own.items():
        before = None if finding.exact else _on_the_way(scene, line, found[line])
        findings[line] = before if before and (before.exact or finding.mistake == UNKNOWN) else finding
    return findings


class _Inferred(NamedTuple):
    node: str
    finding: Finding
    line: np.ndarray
    explained: set[str]


def _hidden_groups(scene: Scene) -> list[tuple[list[str], set[str]]]:
    """The nodes whose lines were not returned, by what follows from them; in a group the closest to those first."""
    groups: list[tuple[list[str], set[str]]] = []
    for node in reversed(scene.graph.nodes):
        if node not in scene.returned:
            fed = scene.graph.descendants(node, scene.returned)
            if groups and groups[-1][1] == fed:
                groups[-1][0].insert(0, node)
            else:
                groups.append(([node], fed))
    return groups


def _inferred(scene: Scene, nodes: list[str], found: Mapping[str, np.ndarray]) -> _Inferred | None:
    """One mistake at one of these nodes that makes all these lines what they are, some of them up to a factor."""
    without = scene.with_line(nodes[0], np.zeros_like(scene.expected[nodes[0]]))
    c = _fit(scene, nodes[0], scene.expected[nodes[0]], found, without)
    if c is not None:
        finding = scaled(scene, nodes[0], c)
        return _Inferred(nodes[0], _and_lines(scene, finding, found), c * scene.expected[nodes[0]], set(found))
    multiple = None
    for node, key, says, line in _mistaken(scene, nodes, found):
        c = _fit(scene, node, line, found, without)
        if c is not None and abs(c - 1) <= 1e-6:
            return _Inferred(node, _and_lines(scene, Finding(key, says), found), line, set(found))
        if c is not None and multiple is None:
            finding = Finding(key, f"{says}, and it is {times(scene, node, c)} times that", exact=False)
            multiple = _Inferred(node, _and_lines(scene, finding, found), c * line, set(found))
        if c is None and multiple is None:
            each = {n: _fit(scene, node, line, {n: f}, without) for n, f in found.items()}
            exact = {n for n, k in each.items() if k is not None and abs(k - 1) <= 1e-6}
            if exact and all(k is not None for k in each.values()):
                multiple = _Inferred(node, _and_lines(scene, Finding(key, says), exact), line, exact)
    return multiple


def _mistaken(
    scene: Scene, nodes: list[str], found: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, str, str, np.ndarray]]:
    """Every mistake that can be made at these nodes: the node, key, sentence, and the line that it leads to."""
    for node in nodes:
        for c in candidates(scene, node):
            if c.line.shape != scene.expected[node].shape:
                continue
            if c.direction is None:
                yield node, c.key, c.says, c.line
                continue
            base, moved = (scene.with_line(node, line) for line in (c.line, c.line + c.direction))
            k = coefficient(scene, list(found.values()), [base[n] for n in found], [moved[n] - base[n] for n in found])
            if k is not None and c.allows(k):
                yield node, c.key, c.says.format(k=f"{k:.4g}"), c.line + k * c.direction


def _fit(
    scene: Scene, node: str, line: np.ndarray, found: Mapping[str, np.ndarray], without: Mapping[str, np.ndarray]
) -> float | None:
    """c where these lines are what c times `line` at the node makes of them; None where there is no such c."""
    made = scene.with_line(node, line)
    directions = [made[n] - without[n] for n in found]
    if not any(d.any() for d in directions):
        return None
    lines = [without[n] for n in found]
    if all(
        np.linalg.norm(f - w) <= scene.tolerance * np.linalg.norm(d)
        for f, w, d in zip(found.values(), lines, directions, strict=True)
    ):
        return 0.0
    return coefficient(scene, list(found.values()), lines, directions)


def _on_the_way(scene: Scene, line: str, found: np.ndarray) -> Finding | None:
    """A mistake at an intermediate on the way, when this line alone follows from it."""
    nodes = next((nodes for nodes, fed in _hidden_groups(scene) if fed == {line}), None)
    if nodes is None or found.shape != scene.expected[line].shape:
        return None
    inferred = _inferred(scene, nodes, {line: found})
    if inferred is None:
        return None
    return inferred.finding._replace(diagnosis=f"on the way, at d{inferred.node}: {inferred.finding.diagnosis}")


def _and_lines(scene: Scene, finding: Finding, lines: Mapping | set) -> Finding:
    if len(lines) < 2:
        return finding
    return finding._replace(diagnosis=f"{finding.diagnosis}; {_listed(scene, set(lines))} are what follows from that")


def _listed(scene: Scene, lines: set[str]) -> str:
    return ", ".join("d" + n for n in scene.graph.backward_order() if n in lines)
