"""A line whose elements are right and in the wrong place: flipped, shifted, exchanged, axes in another order."""

from collections.abc import Iterator
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from manual_bp.checker.diagnose.backward_equations import BackwardEquation
from manual_bp.checker.diagnose.evidence import Evidence, Finding

MOST = 64  # slices, at most, of which the places are compared


def find_rearrangement(evidence: Evidence, equation: BackwardEquation, found: NDArray) -> Finding | None:
    """Find the rearrangement of this term, or of the line upstream, that gives the term that was found."""
    expected = equation.expected
    if found.shape != expected.shape or not found.any():
        return None
    for turned, text in _other_orders(expected):
        if evidence.same(found, turned):
            return Finding("axis order", f"its values are right, but {text}")
    for axis in range(found.ndim):
        text = _moved_slices(evidence, found, expected, axis)
        if text:
            return Finding("rearranged", f"its values are right, but {text} along axis {axis}")
        if np.count_nonzero(found) > found.size / 2 and evidence.same(np.sort(found, axis), np.sort(expected, axis)):
            return Finding("rearranged", f"its values are right, but in another order along axis {axis}")
    D, successor = equation.upstream, equation.successor
    if successor in evidence.graph.nodes and D is not expected:
        for turned, text in _rearrangements(D):
            if not np.array_equal(turned, D) and evidence.same(
                found, evidence.contribution(successor, turned)[equation.line]
            ):
                return Finding("rearranged", f"it follows from d{successor} with {text}")
    return None


def _other_orders(array: NDArray) -> Iterator[tuple[NDArray, str]]:
    if 2 < array.ndim <= 5:
        for axes in permutations(range(array.ndim)):
            turned = array.transpose(axes)
            moved = [a for a in range(array.ndim) if axes[a] != a]
            if moved and turned.shape == array.shape:
                if len(moved) == 2:
                    yield turned, f"axes {moved[0]} and {moved[1]} are exchanged: a transpose is missing or superfluous"
                else:
                    yield turned, f"the axes are in the order {axes}: a transpose is missing or superfluous"


def _moved_slices(evidence: Evidence, found: NDArray, expected: NDArray, axis: int) -> str:
    """Say to which places the slices along an axis have gone, or return ""."""
    n = found.shape[axis]
    if not 2 <= n <= MOST:
        return ""
    slices, right = (np.moveaxis(a, axis, 0).reshape(n, -1) for a in (found, expected))
    zero = np.zeros_like(right[:1])
    for by in (1, -1):
        padded = np.concatenate([zero, right[:-1]] if by > 0 else [right[1:], zero])
        if evidence.same(slices, padded):
            way = "later" if by > 0 else "earlier"
            return f"shifted by one place: each is one {way} than it should be, and the first or last is 0"
    if evidence.same(slices, right[::-1]) and not np.array_equal(right, right[::-1]):
        return "flipped: in reverse order"
    for by in (1, -1):
        if evidence.same(slices, np.roll(right, by, 0)) and not np.array_equal(right, np.roll(right, by, 0)):
            return f"shifted: each is one place {'later' if by > 0 else 'earlier'} than it should be"
    source = []
    scale = np.linalg.norm(right, axis=1).max()
    for one in slices:
        off = np.linalg.norm(right - one, axis=1)
        source.append(int(np.argmin(off)) if off.min() <= evidence.tolerance * scale else -1)
    places = list(range(n))
    if source == places or sorted(source) != places or not evidence.same(slices, right[source]):
        return ""
    steps = {(a - b) % n for a, b in zip(places, source, strict=True)}
    if len(steps) == 1:
        by = steps.pop()
        way, by = ("later", by) if by <= n // 2 else ("earlier", n - by)
        return f"shifted by {by}: each is {by} {'place' if by == 1 else 'places'} {way} than it should be"
    moved = [i for i in places if source[i] != i]
    return f"exchanged: index {_ranges(moved)} hold what belongs to {_ranges([source[i] for i in moved])}"


def _ranges(indices: list[int]) -> str:
    """Write indices as 0:3, 6:9."""
    parts: list[list[int]] = []
    for i in indices:
        if parts and i == parts[-1][1]:
            parts[-1][1] = i + 1
        else:
            parts.append([i, i + 1])
    return ", ".join(f"{a}:{b}" if b > a + 1 else str(a) for a, b in parts)


def _rearrangements(D: NDArray) -> Iterator[tuple[NDArray, str]]:
    for axis in range(D.ndim):
        if D.shape[axis] > 1:
            yield np.flip(D, axis), f"axis {axis} in reverse order"
            for by in (1, -1):
                yield np.roll(D, by, axis), f"axis {axis} off by one"
                shifted = np.roll(D, by, axis)
                np.moveaxis(shifted, axis, 0)[0 if by > 0 else -1] = 0
                yield shifted, f"axis {axis} off by one, and 0 at the end"
    if D.ndim == 2 and D.shape[0] == D.shape[1]:
        yield D.T, "its transpose taken"
    yield from ((turned, text.split(":")[0]) for turned, text in _other_orders(D))
