"""A line that follows from a part of the one upstream: one time step of it, or the last of several terms that meet."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from manual_bp.checker.diagnose.backward_equations import BackwardEquation
from manual_bp.checker.diagnose.evidence import Evidence, Finding

MOST_SLICES, MOST_ELEMENTS = 32, 256  # of the line upstream; each costs one evaluation
MOST = 100_000  # elements of the arguments, with which an evaluation takes a millisecond


def find_parts_used(evidence: Evidence, equation: BackwardEquation, found: NDArray) -> Finding | None:
    """Find the part of the line upstream that gives the term that was found."""
    successor, D = equation.successor, equation.upstream
    if successor not in evidence.graph.nodes or found.shape != equation.expected.shape or not found.any():
        return None
    if not 1 < D.size <= MOST or sum(np.size(a) for a in evidence.arrays) > MOST:
        return None
    return _by_jacobian(evidence, equation, found) or _slices_used(evidence, equation, found)


def _through(evidence: Evidence, equation: BackwardEquation, part: NDArray) -> NDArray:
    return evidence.contribution(equation.successor, part)[equation.line]


def _slices_used(evidence: Evidence, equation: BackwardEquation, found: NDArray) -> Finding | None:
    """Fit the term by the terms of the slices of the line upstream, along each axis."""
    D, d = equation.upstream, f"d{equation.successor}"
    for axis in range(D.ndim):
        n = D.shape[axis]
        if not 2 <= n <= MOST_SLICES or found.size < n:
            continue
        index = np.arange(n).reshape([-1 if a == axis else 1 for a in range(D.ndim)])
        terms = np.array([_through(evidence, equation, np.where(index == k, D, 0.0)).ravel() for k in range(n)])
        c = np.linalg.lstsq(terms.T, found.ravel(), rcond=None)[0]
        c = np.where(np.linalg.norm(terms, axis=1) > 0, c, 1.0)
        whole = np.round(c)
        fits = evidence.same(found.ravel(), whole @ terms)
        if not fits or (whole == 1).all() or np.abs(c - whole).max() > 1e-6:
            continue
        for value, said in ((0, "is missing"), (2, "is counted twice"), (-1, "has the wrong sign")):
            odd = np.flatnonzero(whole == value)
            if ((whole == 1) | (whole == value)).all():
                if value == 0 and len(odd) > n / 2:
                    rest = np.flatnonzero(whole == 1)
                    return Finding("a part of it", f"only {_at(rest, n)} of axis {axis} of {d} is used, not all of it")
                return Finding("a part of it", f"the part of {d} at {_at(odd, n)} of axis {axis} {said}")
    return None


def _at(indices: NDArray, n: int) -> str:
    if len(indices) == 1:
        name = {0: "the first index, 0,", n - 1: f"the last index, {n - 1},"}
        return name.get(int(indices[0]), f"index {indices[0]}")
    return f"indices {', '.join(map(str, indices))}"


def _by_jacobian(evidence: Evidence, equation: BackwardEquation, found: NDArray) -> Finding | None:
    """Write out the Jacobian: is it not transposed, or is only one of the terms that meet in an element kept?"""
    D, successor = equation.upstream, equation.successor
    if D.size > MOST_ELEMENTS:
        return None
    units = np.eye(D.size).reshape(D.size, *D.shape)
    jacobian = np.array([_through(evidence, equation, unit).ravel() for unit in units])
    if D.size == found.size and evidence.same(found.ravel(), jacobian @ D.ravel()):
        text = f"d{successor} goes through the function itself, not through its transpose"
        return Finding("not transposed", f"{text}: a sum, a shift or an order that has to be reversed is not")
    terms = jacobian * D.reshape(-1, 1)
    met = (terms != 0).sum(axis=0)
    if met.max() < 2:
        return None
    where = f", in {int((met > 1).sum())} of {found.size} elements"
    for made, text in _overwritten(terms, D.shape):
        if evidence.same(found, made.reshape(found.shape)):
            return Finding("set for add", f"{text}; add the terms that meet in an element{where}")
    return None


def _overwritten(terms: NDArray, shape: tuple[int, ...]) -> Iterator[tuple[NDArray, str]]:
    last = "only the last of the terms with equal indices is kept, as by =, or by += with a repeated index"
    yield _last(terms), last
    yield _last(terms[::-1]), "only the first of the terms with equal indices is kept"
    groups = 1
    for axis in range(len(shape) - 1):
        groups *= shape[axis]
        parts = np.array_split(terms, groups)
        yield np.sum([_last(part) for part in parts], axis=0), f"{last}, within each index of axis {axis}"


def _last(terms: NDArray) -> NDArray:
    """Return the last term in each column that is not 0."""
    at = len(terms) - 1 - np.argmax((terms != 0)[::-1], axis=0)
    return terms[at, np.arange(terms.shape[1])]
