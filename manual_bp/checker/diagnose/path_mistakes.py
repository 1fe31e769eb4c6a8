"""A mistake in the derivative through one equation of the function: its path is missing, doubled or scaled."""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np

from manual_bp.checker.diagnose.constant_factors import CONSTANT, digits, factor_mistake, fitted_multiple
from manual_bp.checker.diagnose.evidence import Evidence, Finding
from manual_bp.checker.diagnose.known_constants import argument_constant
from manual_bp.checker.diagnose.replaced_values import replacement_finder
from manual_bp.checker.diagnose.scaled_paths import Change, ScaledPaths
from manual_bp.checker.diagnose.source_lines import describe_source, describe_value, find_source
from manual_bp.checker.graph.places import Place
from manual_bp.checker.judge.cut_graph import Arrays
from manual_bp.checker.judge.norms import norm

MISSING = "missing term"
PLAIN = (0.0, -1.0, 2.0)  # the factors of a mistake that needs no constant: missing, of the wrong sign, doubled
FEW = 4  # numbers that any constant could fit


class _Fit(NamedTuple):
    change: Change
    factor: float
    finding: Finding


def path_finder(evidence: Evidence) -> Callable[[Arrays], Finding | None]:
    """Return a function that finds one change of a path which turns the expected lines into those given, or two."""
    paths = ScaledPaths(evidence)
    replacements = replacement_finder(paths)
    return lambda found: _find_one(paths, found) or _find_two(paths, found) or _find_other(paths, replacements, found)


def _find_one(paths: ScaledPaths, found: Arrays) -> Finding | None:
    fits = [fit for change in paths.changes for fit in _fit(paths.evidence, change, found)]
    if not fits:
        return None
    best = min(fits, key=_rank)
    steps = len(best.change.places) > 1
    alike = [f for f in fits if abs(f.factor - best.factor) <= 1e-6 and (len(f.change.places) > 1) == steps]
    return _in_words(best, _describe([p for fit in alike for p in fit.change.places], steps))


def _fit(evidence: Evidence, change: Change, found: Arrays) -> Iterator[_Fit]:
    expected = evidence.expected
    sizes = [norm(expected[n]) or norm(found[n]) or 1.0 for n in found]
    lines, rights, moves = (
        [by[n] / size for n, size in zip(found, sizes, strict=True)] for by in (found, expected, change.difference)
    )
    t = fitted_multiple(evidence, lines, rights, moves)
    if t is None or (not change.linear and abs(t - 1) > 1e-6):
        return
    factor = 1 - t if change.linear else change.factor
    finding = _factor_mistake(evidence, found, factor)
    plain = any(abs(factor - k) <= 1e-6 for k in PLAIN)
    if plain or sum(int(np.count_nonzero(m)) for m in moves) >= FEW:
        yield _Fit(change, factor, finding)


def _factor_mistake(evidence: Evidence, found: Arrays, factor: float) -> Finding:
    if not evidence.graph.of_rule or argument_constant(evidence, factor):
        return factor_mistake(evidence, next(iter(found)), factor)
    fact = f"it is {digits(factor)} times what it should be"
    for n in {n for a in evidence.arrays for n in np.shape(a) if n > 2}:
        if abs(factor - n) <= 1e-6 * n:
            return Finding("factor n_l", f"{fact}, and {n} is the length of an axis: a division by {n} is missing")
        if abs(factor * n - 1) <= 1e-6:
            return Finding(
                "factor n_l", f"{fact}, and {n} is the length of an axis: there is a division by it too many"
            )
    return factor_mistake(evidence, next(iter(found)), factor)


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
                    _Fit(c[0], k, _factor_mistake(evidence, found, k)),
                    _describe([p for x in c for p in x.places]),
                )
                for c, k in zip(alike, (a, b), strict=True)
            ]
            return findings[0]._replace(diagnosis="; and ".join(f.diagnosis for f in findings))
    return None


def _find_other(paths: ScaledPaths, replacements: Callable, found: Arrays) -> Finding | None:
    """Find one factor that is missing or replaced."""
    evidence = paths.evidence
    wrong = {n for n in found if not evidence.same(found[n], evidence.expected[n])}
    if not paths.changes or sum(found[n].size for n in wrong) < FEW:
        return None
    possible = replacements(wrong, found.keys() - wrong)
    return next((r.finding for r in possible if _same(evidence, r.lines, found)), None)


def _parallel(one: Change, other: Change) -> bool:
    return all(
        norm(one.difference[n] - other.difference[n]) <= 1e-9 * norm(other.difference[n]) for n in one.difference
    )


def _same(evidence: Evidence, lines: Arrays, found: Arrays) -> bool:
    """Return whether the lines equal those found, and much closer than those expected do."""
    pairs = [(norm(lines[n] - found[n]), norm(found[n] - evidence.expected[n]), n) for n in found]
    tolerance = evidence.tolerance
    if not all(evidence.same_everywhere(found[n], lines[n]) for n in found):
        return False
    return all(left <= tolerance * norm(found[n]) for left, _, n in pairs) and all(
        left <= 1e-3 * wrong for left, wrong, n in pairs if wrong > 1e2 * tolerance * norm(found[n])
    )


def _describe(places: Sequence[Place], steps: bool = False) -> str:
    """Name the path by a sum on it, or by its last equation, or by the use of a value, or of one at each of the steps.

    A value of several that would explain the line as well is not named.
    """
    yours = [p for p in places if find_source(p.calls)]
    if not yours:  # only the sum that weights the outputs
        return "it"
    places = yours
    whole = [p for p in places if p.alone or p.is_output]
    sums = [p for p in whole if p.calls[-1].primitive.name.startswith(("reduce", "cumsum", "cumlogsumexp"))]
    uses = [p for p in places if p.root and p not in whole]
    if sums or (whole and not uses):
        return f"the path through {describe_source((sums[0] if sums else whole[-1]).calls)}"
    place = (uses or places)[-1]
    alike = [p for p in uses or places if describe_source(p.calls) == describe_source(place.calls)]
    values = list(dict.fromkeys(p.root or describe_value(p.origin) for p in alike))
    each = f" of {', '.join(values)}, each at its own step," if steps else ""
    of = f" of {values[0]}" if len(values) == 1 else each
    return f"the contribution{of} through {describe_source(place.calls)}"


def _in_words(fit: _Fit, path: str) -> Finding:
    if abs(fit.factor) <= 1e-6:
        return Finding(MISSING, f"{path} is missing: it is taken as a constant there")
    return fit.finding._replace(diagnosis=fit.finding.diagnosis.replace("it ", f"{path} ", 1))
