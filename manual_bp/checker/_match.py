"""A wrong line and the candidates: which mistake it is, with the evidence in numbers."""

import numpy as np

from manual_bp.checker._catalogue import candidates
from manual_bp.checker._conventions import ratio
from manual_bp.checker._factor import CONSTANT, Finding, of_term, scaled, times
from manual_bp.checker._graph import COST
from manual_bp.checker._resolution import relative
from manual_bp.checker._scene import Scene
from manual_bp.checker._stage import Sum, stages

UNKNOWN = "unknown"


def own_mistake(scene: Scene, line: str, found: np.ndarray) -> Finding:
    """What is wrong with a returned line, given the lines that it follows from."""
    expected = scene.expected[line]
    if not np.isfinite(found).all():
        return _non_finite(found, expected)
    if found.shape == expected.shape and not found.any():
        return Finding("zero", f"it is 0 everywhere; it should have norm {np.linalg.norm(expected):.3g}")
    if found.shape != expected.shape:
        if found.size == expected.size and scene.same(found.reshape(expected.shape), expected):
            says = f"the values are right but their shape is {found.shape}, not {expected.shape}"
            return Finding("wrong shape", says + (": keepdims=True is missing" if found.ndim < expected.ndim else ""))
        for turned in (found, found.T):
            finding = _first(scene, line, turned, None)
            if finding:
                return finding._replace(
                    diagnosis=f"{finding.diagnosis}; shape {found.shape}, expected {expected.shape}"
                )
        return _by_shape(scene, line, found)
    c = ratio(found, expected, scene.tolerance)
    if c is not None and not _closer(found, c * expected, expected):
        c = None
    if c is not None and (found.size > 1 or scaled(scene, line, c).mistake != CONSTANT):
        return scaled(scene, line, c)
    terms = stages(scene, line)
    for stage in terms if len(terms) > 1 else ():
        k = coefficient(scene, [found], [expected], [stage.expected])
        if k is not None:
            way = "from the cost itself" if stage.successor == COST else f"by way of d{stage.successor}"
            return of_term(scaled(scene, line, 1 + k), way)
    for turned, right in [(found, expected)] + [(found.T, expected.T)] * (found.ndim == 2):
        finding = _first(scene, line, turned, right)
        if finding:
            return finding
    if c is not None:
        return scaled(scene, line, c)
    return Finding(UNKNOWN, _largest(found, expected), exact=False)


def _first(scene: Scene, line: str, found: np.ndarray, right: np.ndarray | None) -> Finding | None:
    """The first candidate that is the line; failing that, the first that the line is a multiple of.

    `right` is the line as it should be, unless its shape alone shows that it is not: a candidate has to explain the
    difference from that, which may be small.
    """
    multiple = None
    for c in candidates(scene, line):
        if c.direction is not None:
            k = coefficient(scene, [found], [c.line], [c.direction]) if found.shape == c.line.shape else None
            if k is not None and c.allows(k):
                return Finding(c.key, f"{c.says.format(k=f'{k:.4g}')}{_evidence(found, c.line + k * c.direction)}")
        elif found.shape != c.line.shape or (right is not None and scene.same(c.line, right)):
            continue
        elif scene.same(found, c.line) and _closer(found, c.line, right):
            return Finding(c.key, c.says + _evidence(found, c.line))
        elif multiple is None and found.size > 1 and c.line.any():
            k = ratio(found, c.line, scene.tolerance)
            if k is not None and _closer(found, k * c.line, right):
                says = f"{c.says}, and it is {times(scene, line, k)} times that{_evidence(found, k * c.line)}"
                multiple = Finding(c.key, says, exact=False)
    return multiple


def _closer(found: np.ndarray, to: np.ndarray, than: np.ndarray | None) -> bool:
    return than is None or bool(np.linalg.norm(found - to) <= 1e-3 * np.linalg.norm(found - than))


def _by_shape(scene: Scene, line: str, found: np.ndarray) -> Finding:
    """Where the values tell nothing: a sum of softmax's dZ over the units is 0, say."""
    says = f"it has shape {found.shape}; expected {scene.expected[line].shape}"
    if any(isinstance(stage.form, Sum) for stage in stages(scene, line)):
        for c in candidates(scene, line):
            if c.key in ("unsummed", "wrong axis") and found.shape in (c.line.shape, c.line.shape[::-1]):
                return Finding(c.key, f"by its shape, {c.says}; {says}")
    return Finding("wrong shape", says)


def coefficient(
    scene: Scene, found: list[np.ndarray], lines: list[np.ndarray], directions: list[np.ndarray]
) -> float | None:
    """k where found = line + k direction in every one of these arrays, k not 0; None where there is none."""
    difference = np.concatenate([(f - e).ravel() for f, e in zip(found, lines, strict=True)])
    direction = np.concatenate([d.ravel() for d in directions])
    size = float(direction @ direction) if direction.size > 1 else 0.0
    k = float(direction @ difference) / size if size else 0.0
    # the difference is what rounding of the two lines left of it
    floor = scene.tolerance * (np.linalg.norm(difference) + 1e-6 * sum(float(np.linalg.norm(f)) for f in found))
    return k if k and np.linalg.norm(difference - k * direction) <= floor else None


def _evidence(found: np.ndarray, as_mistaken: np.ndarray) -> str:
    return f" (equal to that within {relative(found, as_mistaken):.0e})"


def _non_finite(found: np.ndarray, expected: np.ndarray) -> Finding:
    where = np.argwhere(~np.isfinite(found))
    first = tuple(int(i) for i in where[0])
    return Finding(
        "non-finite", f"{len(where)} of {found.size} elements are not finite, the first {found[first]} at {list(first)}"
    )


def _largest(found: np.ndarray, expected: np.ndarray) -> str:
    difference = np.abs(found - expected)
    at = np.unravel_index(np.argmax(difference), found.shape)
    wrong = int(np.sum(difference > 1e-3 * difference[at]))
    return (
        f"no mistake of the catalogue fits: {wrong} of {found.size} elements differ, most at {[int(i) for i in at]}, "
        f"found {found[at]:.9g}, expected {expected[at]:.9g}, a difference of {found[at] - expected[at]:.1e}"
    )
