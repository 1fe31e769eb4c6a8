"""The verdict on one line by central differences, in steps of the size of the array."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from manual_bp.checker._report_line import Line
from manual_bp.checker.diagnose.constant_factors import constant_mistake
from manual_bp.checker.graph.arguments import Arguments
from manual_bp.checker.judge.norms import norm, projection, relative_error
from manual_bp.checker.judge.raised_error import NOT_DIFFERENTIABLE
from manual_bp.checker.judge.random_directions import (
    EPS,
    extrapolated_slope,
    has_kink,
    noise_of,
    random_directions,
    size_of_jump,
    typical_size,
)

DIRECTIONS, ELEMENTS = 6, 64
TOLERANCE = 1e-6
UNCLEAR = 1e-3  # an estimated error above which a difference tells nothing
FINE = 1e-5  # an error above which no line is right, whatever the noise of the function
SMALL = 1e-3  # a size below which an array may be small by chance
COARSEST = 1e-2  # the largest error that is put down to a solver whose result jumps
ITERATED = 1e-4  # an error that can come from a while_loop that stops early


class _Function(NamedTuple):
    """A function by its values, and how exact they are; `iterates` says that a loop in it decides when to stop."""

    arguments: Arguments
    cost_at: Callable[[list], float]
    tolerance: float
    eps: float
    iterates: bool


def judge_by_differences(
    arguments: Arguments,
    cost_at: Callable[[list], float],
    found: dict[str, np.ndarray],
    tolerance: float | None = None,
    eps: float = EPS,
    reason: str = "",
) -> list[Line]:
    """Judge the lines found, where cost_at(arrays) computes the cost with this eps.

    `reason` is the error of autodiff, which says whether there is a loop that decides when to stop.
    """
    tolerance, iterates = tolerance or max(TOLERANCE, eps**0.5), NOT_DIFFERENTIABLE[0] in reason
    function = _Function(arguments, cost_at, tolerance, eps, iterates)
    return [_judge(function, n, line) for n, line in found.items()]


def _judge(function: _Function, name: str, line: np.ndarray) -> Line:
    """Judge a line with steps of the size of the array; where that does not show it right, with other steps too."""
    arguments = function.arguments
    place = arguments.names.index(name)
    start = arguments.arrays[place]
    array, line = np.asarray(start, np.float64), np.asarray(line, np.float64)
    if line.shape != array.shape:
        shapes = f"it has shape {line.shape}; expected {array.shape}"
        return Line("d" + name, "wrong", None, None, "wrong shape", shapes)
    if not array.size:
        return Line("d" + name, "cannot tell", None, None, None, "it is empty")

    def along(v: np.ndarray) -> Callable[[float], float]:
        def cost_along(t: float) -> float:
            arrays = arguments.copied_arrays()
            arrays[place] = (array + t * v).astype(start.dtype)
            return function.cost_at(arrays)

        return cost_along

    def judged(steps: np.ndarray) -> Line:
        return _judge_with(function, steps, along, "d" + name, line)

    steps = np.full(array.shape, typical_size(array))
    first = judged(steps)
    if first.verdict == "right":
        return first
    if len(groups := _groups_of_size(array)) > 1:
        # a step of the size of the largest is too long for the others
        return _worst(first, [judged(steps) for steps in groups])
    if first.verdict == "cannot tell" and steps.max() < SMALL:
        # small by chance or at the start, so that its own size is no measure of the function's
        second = judged(np.ones(array.shape))
        return second if second.verdict == "right" else first
    return first


def _groups_of_size(array: np.ndarray) -> list[np.ndarray]:
    """Return, for the elements of each size within a factor of a thousand, steps for these and 0 for the others."""
    sizes = np.abs(array)
    if not sizes.any():
        return []
    ratios = np.where(sizes > 0, sizes, sizes.max()) / sizes.max()
    groups = np.where(sizes > 0, np.ceil(np.log10(ratios) / 3), 1)
    return [
        np.where(groups == g, typical_size(array[groups == g] if g < 1 else array), 0.0) * np.mean(groups == g) ** -0.5
        for g in np.unique(groups)
    ]


def _worst(whole: Line, groups: list[Line]) -> Line:
    """Return the line of a group of elements that is wrong or, if there is none, that cannot be told."""
    groups = [x for x in groups if x.global_error != 0] or [whole]
    worst = next(x for v in ("wrong", "cannot tell", "right") for x in groups if x.verdict == v)
    if worst.verdict == "wrong" and any(x.diagnosis != worst.diagnosis for x in groups):
        return worst._replace(diagnosis=f"of its elements of one size: {worst.diagnosis}")
    return worst


def _judge_with(function: _Function, steps: np.ndarray, along_steps: Callable, name: str, line: np.ndarray) -> Line:
    arguments, _, tolerance, eps, iterates = function

    def along(v: np.ndarray) -> Callable[[float], float]:
        return along_steps(steps * v)

    directions = [v[name] for v in random_directions({name: line}, DIRECTIONS)]
    own, noise = np.array([np.sum(line * steps * v) for v in directions]), 0.0

    def compare() -> tuple[np.ndarray, float, float, float]:
        true, errors = np.transpose([extrapolated_slope(along(v), eps, noise) for v in directions])
        return true, max(norm(true), norm(own)), norm(errors), norm(own - true)

    true, size, unsure, distance = compare()
    if distance > max(10 * unsure, tolerance * size):
        noise = max(noise_of(along(v)) for v in directions)
        true, size, unsure, distance = compare()
    error = distance / (norm(true) or np.inf) if np.any(true) else float("inf") if distance else 0.0
    if size <= unsure or not size:
        why = "the derivative is zero up to rounding, and most mistakes would leave it zero"
        return Line(name, "cannot tell", error, None, None, why)
    if distance <= max(min(10 * unsure, FINE * size), tolerance * size) and unsure <= UNCLEAR * size:
        return Line(name, "right", error, None)
    reach = 0.5 * np.sqrt(np.count_nonzero(steps))
    jump = max(size_of_jump(along(v), reach, eps) for v in directions) if distance <= COARSEST * size else 0.0
    by_jumps = min(100 * jump, COARSEST * size) if jump <= COARSEST * size else 0.0  # a larger one is no solver's
    if distance <= max(10 * unsure, ITERATED * size * iterates, by_jumps):
        why = f"it is within {error:.0e} of central differences, and the function is not exact enough to tell more"
        return Line(name, "cannot tell", error, None, None, f"{why}; make a solver in it iterate longer")
    if not unsure <= UNCLEAR * size or has_kink(along(np.ones(line.shape)), size, max(eps, noise / size)):
        why = "central differences do not settle here, as at a kink"
        return Line(name, "cannot tell", error, None, None, why)
    c = projection(own, true)
    if c and norm(own - c * true) <= max(10 * unsure, tolerance * size):  # along random directions
        return Line(name, "wrong", error, None, *_factor(arguments, c, line.shape, max(1e-5, tolerance)))
    moved = np.flatnonzero(steps)
    chosen = np.random.default_rng(0).choice(moved, min(moved.size, ELEMENTS), replace=False)
    units = (np.reshape(np.arange(line.size) == i, line.shape).astype(float) for i in chosen)
    slopes = np.array([extrapolated_slope(along(unit), eps, noise)[0] for unit in units])
    return Line(name, "wrong", error, None, *_diagnose(line, chosen, slopes / steps.flat[chosen], max(1e-5, tolerance)))


def _diagnose(line: np.ndarray, chosen: np.ndarray, expected: np.ndarray, tolerance: float) -> tuple[str, str]:
    """Say whether the line is zero or transposed, or name the element, of those chosen, that is the farthest off."""
    found = line.ravel()[chosen]
    if not line.any():
        return "zero", f"it is 0 everywhere; it should have elements up to {np.abs(expected).max():.3g}"
    is_square = line.ndim == 2 and line.shape[0] == line.shape[1]
    if is_square and relative_error(line.T.ravel()[chosen], expected) <= tolerance:
        return "transposed", "it is transposed"
    worst = int(np.argmax(np.abs(found - expected)))
    at = [int(i) for i in np.unravel_index(chosen[worst], line.shape)]
    return "unknown", f"no factor fits; most at {at}, found {found[worst]:.6g}, expected {expected[worst]:.6g}"


def _factor(arguments: Arguments, c: float, shape: tuple[int, ...], tolerance: float) -> tuple[str, str]:
    finding = constant_mistake(c, _examples(arguments), shape, tolerance)
    return finding.mistake, finding.diagnosis


def _examples(arguments: Arguments) -> int:
    """Return the size that all arguments besides the parameters share, or 1."""
    shapes = [np.shape(a) for n, a in zip(arguments.names, arguments.arrays, strict=True) if n not in arguments.params]
    common = set.intersection(*map(set, shapes)) if shapes and all(shapes) else set()
    return max(common, default=1)
