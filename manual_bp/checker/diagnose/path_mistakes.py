"""A mistake in the derivative through one equation of the function: its path is missing, doubled or scaled."""

from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np

from manual_bp.checker.diagnose.constant_factors import CONSTANT, factor_mistake
from manual_bp.checker.diagnose.evidence import Evidence, Finding
from manual_bp.checker.diagnose.identify_mistake import fitted_multiple
from manual_bp.checker.diagnose.scaled_paths import Change, ScaledPaths
from manual_bp.checker.diagnose.source_lines import find_source
from manual_bp.checker.graph.places import Place
from manual_bp.checker.judge.cut_graph import Arrays

MISSING = "missing term"
PLAIN = (0.0, -1.0, 2.0)  # the factors of a mistake that needs no constant: missing, of the wrong sign, doubled
FEW = 4  # numbers that any constant could fit


class _Fit(NamedTuple):
    change: Change
    factor: float
    finding: Finding


def find_path_mistake(paths: ScaledPaths, found: Arrays) -> Finding | None:
    """Find one change of one path that turns the expected lines into these, or else of two."""
    fits = [fit for change in paths.changes for fit in _fit(paths.evidence, change, found)]
    if not fits:
        return _find_two(paths, found)
    best = min(map(_rank, fits))
    alike = [fit for fit in fits if _rank(fit) == best]
    places = _places_to_name(paths, alike)
    return _in_words(alike[0], _describe(places, alike[0].change))


def _fit(evidence: Evidence, change: Change, found: Arrays) -> Iterator[_Fit]:
    expected = evidence.expected
    sizes = [np.linalg.norm(expected[n]) or np.linalg.norm(found[n]) or 1.0 for n in found]
    lines, rights, moves = (
        [by[n] / size for n, size in zip(found, sizes, strict=True)] for by in (found, expected, change.difference)
    )
    t = fitted_multiple(evidence, lines, rights, moves)
    if t is None or (not change.linear and abs(t - 1) > 1e-6):
        return
    factor = 1 - t if change.linear else change.factor
    finding = factor_mistake(evidence, next(iter(found)), factor)
    plain = any(abs(factor - k) <= 1e-6 for k in PLAIN)
    if plain or sum(int(np.count_nonzero(m)) for m in moves) >= FEW:
        yield _Fit(change, factor, finding)


def _rank(fit: _Fit) -> tuple:
    plain = [abs(fit.factor - k) <= 1e-6 for k in PLAIN]
    kind = plain.index(True) if any(plain) else 4 if fit.finding.mistake == CONSTANT else 3
    return kind, len(fit.change.places) > 1, not fit.change.linear


def _find_two(paths: ScaledPaths, found: Arrays) -> Finding | None:
    """Find two paths that are missing, doubled or of the wrong sign together."""
    evidence = paths.evidence
    wrong = np.concatenate([(found[n] - evidence.expected[n]).ravel() for n in found])
    linear = [c for c in paths.changes if c.linear]
    moves = np.array([np.concatenate([c.difference[n].ravel() for n in found]) for c in linear])
    if not len(linear) or np.count_nonzero(wrong) < FEW:
        return None
    products, towards, size = moves @ moves.T, moves @ wrong, float(wrong @ wrong)
    for a, b in combinations_with_replacement(PLAIN, 2):
        s, t = 1 - a, 1 - b
        squares = s * s * products.diagonal()[:, None] + t * t * products.diagonal() + 2 * s * t * products
        left = size + squares - 2 * (s * towards[:, None] + t * towards)
        for i, j in np.argwhere(np.abs(left) <= 1e-10 * (size + np.abs(squares))):
            one, two = linear[i], linear[j]
            factors = {one.places[0].key: a, two.places[0].key: b}
            if i == j or not _same(evidence, paths.lines(factors), found):
                continue
            alike = [[c for c in linear if _parallel(c, x)] for x in (one, two)]
            findings = [
                _in_words(
                    _Fit(c[0], k, factor_mistake(evidence, next(iter(found)), k)),
                    _describe([p for x in c for p in x.places], c[0]),
                )
                for c, k in zip(alike, (a, b), strict=True)
            ]
            return findings[0]._replace(diagnosis="; and ".join(f.diagnosis for f in findings))
    return None


def _parallel(one: Change, other: Change) -> bool:
    return all(
        np.linalg.norm(one.difference[n] - other.difference[n]) <= 1e-9 * np.linalg.norm(other.difference[n])
        for n in one.difference
    )


def _same(evidence: Evidence, lines: Arrays, found: Arrays) -> bool:
    return all(np.linalg.norm(lines[n] - found[n]) <= evidence.tolerance * np.linalg.norm(found[n]) for n in found)


def _places_to_name(paths: ScaledPaths, fits: Sequence[_Fit]) -> list[Place]:
    return [p for fit in fits for p in fit.change.places]


def _describe(places: Sequence[Place], change: Change) -> str:
    """Name the path by a sum on it, or by its last equation, or by the use of a value."""
    equations = {p.key[:-1] for p in places if p.is_output}
    counts = {}
    for p in places:
        counts[p.key[:-1]] = counts.get(p.key[:-1], 0) + 1
    whole = [p for p in places if p.alone or p.key[:-1] in equations]
    sums = [p for p in whole if p.calls[-1].primitive.name.startswith(("reduce", "cumsum", "cumlogsumexp"))]
    roots = [p for p in places if p.root]
    if sums or (whole and not roots):
        return f"the path through {_source(sums[0] if sums else whole[-1])}"
    place = (roots or places)[-1]
    value = place.root or _code(place.origin)
    return f"the contribution of {value} through {_source(place)}"


def _in_words(fit: _Fit, path: str) -> Finding:
    if abs(fit.factor) <= 1e-6:
        return Finding(MISSING, f"{path} is missing: it is taken as a constant there")
    return fit.finding._replace(diagnosis=fit.finding.diagnosis.replace("it ", f"{path} ", 1))


def _source(place: Place) -> str:
    inner, outer = find_source(place.calls), find_source(place.calls[:1])
    if inner is None:
        return place.calls[-1].primitive.name
    within = outer and outer.line != inner.line
    return f"{inner}{f' (from {outer})' if within else ''}"


def _code(calls: Sequence) -> str:
    source = find_source(calls)
    return f"`{source.code}`" if source and source.code else "a value"
