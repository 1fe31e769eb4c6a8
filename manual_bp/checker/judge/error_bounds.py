"""The error allowed in each line: what rounding leaves in a correct program, bounded or measured."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from manual_bp.checker.judge.cut_graph import Arrays, CutGraph
from manual_bp.checker.judge.norms import norm, projection, relative_error
from manual_bp.checker.judge.rounding import rounding_distances, rounding_of_sums, rounding_sensitivity

COARSE = 0.01  # rounding larger than this can hide a mistake
NARROW = 1e-4  # an eps, such as that of bfloat16, at which rounding is measured by itself
SAFETY = 4.0  # how much farther off a correct program may be, which rounds at other places
HIDDEN = 0.25  # the most that long sums are taken to change: any mistake of half a line's size is seen


class Bounds(NamedTuple):
    """The error allowed in each line, relative and as an absolute norm due to rounding; and the lines that are zero.

    `eps` is that of the dtype in which each line was computed. `factors` are those, less 1, that rounding can give to
    a whole line, as where it rounds a number that all elements share.
    """

    relative: dict[str, float]
    absolute: dict[str, float]
    zero: set[str]
    eps: dict[str, float]
    factors: dict[str, float]

    def allow(self, name: str, line: np.ndarray, true: np.ndarray, error: float, share: float = 1.0) -> bool:
        if error > COARSE and _is_multiple(line, true, self.eps[name], self.factors[name]):
            return False
        return bool(error <= self.relative[name] or norm(line - true) <= share * self.absolute[name])


def find_bounds(
    cut: CutGraph, arrays: Sequence, eps: float, expected: Arrays, relative: dict, shaped: Arrays, own: dict
) -> Bounds:
    """Bound the errors; the effect of rounding is measured only if a line is zero or exceeds its relative bound."""
    errors = {n: relative_error(line, expected[n]) for n, line in shaped.items()}
    zero = {n for n in expected if not expected[n].any()}
    if not zero and all(n in errors and errors[n] <= relative[n] for n in relative):
        return Bounds(relative, dict.fromkeys(relative, 0.0), zero, own, dict.fromkeys(relative, 0.0))
    # a line that is zero, or left by terms that cancel, has no size of its own to compare an error with
    whole = norm(np.array([norm(e[np.isfinite(e)]) for e in expected.values()]))
    zero = {n for n in relative if norm(expected[n]) <= min(relative[n], 1e-3) * whole}
    small = {n for n in relative if norm(expected[n]) <= 1e-6 * whole}
    absolute = dict.fromkeys(relative, 0.0) | {n: relative[n] * whole for n in zero}
    factors = dict.fromkeys(relative, 0.0)
    narrow = {n for n in relative if own[n] > NARROW}
    for e in {own[n] for n in narrow}:
        # a program may also add up one by one, with a rounding at each step, where the cost has one sum
        moves, of_sums = rounding_distances(cut, arrays, e), min(rounding_of_sums(cut.graph, e) / 2, HIDDEN)
        of_this = [n for n in narrow if own[n] == e]
        absolute |= {n: max(absolute[n], of_sums * norm(expected[n]), SAFETY * moves[n].distance) for n in of_this}
        factors |= {n: SAFETY * moves[n].factor for n in of_this}
    wide = relative.keys() - narrow
    if not wide:
        return Bounds(relative, absolute, zero, own, factors)
    for inside in (False, True):
        sensitivity = rounding_sensitivity(cut, arrays, eps, inside)
        absolute |= {n: max(absolute[n], relative[n] * s.distance) for n, s in sensitivity.items() if n in wide}
        factors |= {n: max(factors[n], relative[n] * s.factor) for n, s in sensitivity.items() if n in wide}
        bounds = Bounds(relative, absolute, zero, own, factors)
        off = [n for n, line in shaped.items() if not bounds.allow(n, line, expected[n], errors[n])]
        if not off or (max(relative.values()) < 1e-10 and any(errors[n] > 0.1 for n in off if n not in small)):
            break  # all agree, or one differs by far more than rounding in float64 does
    return bounds


def _is_multiple(line: np.ndarray, true: np.ndarray, eps: float, factor: float) -> bool:
    """Return whether it is a multiple of the true line, such as its double, which rounding does not make of it."""
    if true.size < 8 or not (0 < norm(true) < np.inf):
        return False
    c = projection(line, true)
    return abs(c) > 1e-3 and abs(c - 1) > max(16 * eps, factor) and bool(norm(line - c * true) <= 2 * eps * norm(line))
