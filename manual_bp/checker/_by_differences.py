"""The check of lines by central differences, for a cost or a rule's function that autodiff cannot take.

Such a cost is in NumPy, or has a while_loop in it. Such a function is a callback, a kernel, or has a rule in a loop.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from manual_bp.checker._report import Report
from manual_bp.checker._report_line import Line
from manual_bp.checker.diagnose.constant_factors import constant_mistake
from manual_bp.checker.graph.arguments import Arguments, flatten_arguments, is_float
from manual_bp.checker.graph.nodes import call_with_tap
from manual_bp.checker.judge.cut_graph import Arrays
from manual_bp.checker.judge.raised_error import NOT_DIFFERENTIABLE
from manual_bp.checker.judge.random_directions import EPS, extrapolated_slope, has_kink, noise_of, random_directions
from manual_bp.checker.judge.reconsider import NOT_THE_SAME
from manual_bp.checker.judge.returned_lines import OWN_ORDER, ReturnedLines, call_backward
from manual_bp.checker.judge.rounding import relative_error
from manual_bp.checker.judge.second_order import without_second_order

ONLY_ARGUMENTS = "central differences judge only the lines of parameters and arguments"
DIRECTIONS, ELEMENTS = 6, 64
TOLERANCE = 1e-6
UNCLEAR = 1e-3  # an estimated error above which a difference tells nothing
FINE = 1e-5  # an error above which no line is right, whatever the noise of the function
ITERATED = 1e-4  # an error that can come from a while_loop that stops early


def report_by_differences(
    cost: Callable,
    backward: Callable,
    params: Any,
    args: tuple,
    tolerance: float | None,
    order: int,
    reason: str,
    traceable: bool,
) -> Report:
    """Compare the lines of the parameters and arguments with central differences along random directions."""
    arguments = flatten_arguments(cost, params, args).cast(np.float64)
    floats = [n for n, a in zip(arguments.names, arguments.arrays, strict=True) if is_float(a)]
    taps: dict[str, None] = {}

    def of_arrays(arrays: list) -> Any:
        def tap(name: str, value: Any) -> Any:
            taps[name] = None
            return value

        return call_with_tap(cost, arguments.rebuild(arrays), tap)

    evaluate = jax.jit(of_arrays) if traceable else of_arrays

    def cost_at(arrays: list) -> float:
        value = evaluate(arrays)
        if np.shape(value):
            raise ValueError(f"cost must return one number; it returned an array of shape {np.shape(value)}")
        return float(value)

    here = cost_at(arguments.copied_arrays())

    def call() -> ReturnedLines:
        return call_backward(backward, arguments.copies(), list(dict.fromkeys([*arguments.params, *floats, *taps])))

    returned = call()

    def judged(found: dict[str, np.ndarray]) -> list[Line]:
        lines = {n: found[n] for n in floats if n in found}
        return judge_by_differences(arguments, cost_at, lines, tolerance, reason=reason)

    lines, conventions = judged(returned.found), []
    if returned.in_own_order and any(line.verdict == "wrong" for line in lines):
        other = judged(returned.in_own_order)
        if all(line.verdict != "wrong" for line in other):
            lines, conventions = other, [OWN_ORDER]
    if lines and all(line.verdict == "right" for line in lines) and not conventions:
        lines = _kept_between_calls(lines, returned.found, call().found, judged)
    lines = without_second_order(lines) if order == 2 else lines
    lines += [Line("d" + n, "cannot tell", diagnosis=ONLY_ARGUMENTS) for n in taps if n in returned.found]
    verdict, mistake = ("wrong", "raised") if returned.raised else ("cannot tell", None)
    lines += [Line(name, verdict, None, None, mistake, fault) for name, fault in returned.faults.items()]
    missing = ", ".join("d" + n for n in arguments.params if n not in returned.found)
    notes = [f"judged by central differences, because autodiff of the cost is not possible: {reason}"]
    notes += [f"not returned, so not judged: {missing}"] * bool(missing)
    return Report(tuple(lines), tuple(conventions), tuple(notes), "float64", here, "central differences")


def _kept_between_calls(lines: list[Line], found: Arrays, again: Arrays, judged: Callable) -> list[Line]:
    """Withdraw "right" from lines that are wrong when the pass is called once more."""
    changed = {n: again[n] for n in found if n in again and not np.array_equal(found[n], again[n], equal_nan=True)}
    lost = {line.line for line in judged(changed) if line.verdict == "wrong"}
    return [x._replace(verdict="cannot tell", diagnosis=NOT_THE_SAME) if x.line in lost else x for x in lines]


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
    return [_judge(arguments, cost_at, n, line, tolerance, eps, iterates) for n, line in found.items()]


def _judge(
    arguments: Arguments,
    cost_at: Callable,
    name: str,
    line: np.ndarray,
    tolerance: float,
    eps: float,
    iterates: bool,
) -> Line:
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
            return cost_at(arrays)

        return cost_along

    directions = [v[name] for v in random_directions({name: array}, DIRECTIONS)]
    own, noise = np.array([np.sum(line * v) for v in directions]), 0.0

    def compare() -> tuple[np.ndarray, float, float, float]:
        true, errors = np.transpose([extrapolated_slope(along(v), eps, noise) for v in directions])
        size = float(max(np.linalg.norm(true), np.linalg.norm(own)))
        return true, size, float(np.linalg.norm(errors)), float(np.linalg.norm(own - true))

    true, size, unsure, distance = compare()
    if distance > max(10 * unsure, tolerance * size):
        noise = max(noise_of(along(v)) for v in directions)
        true, size, unsure, distance = compare()
    error = float(distance / (np.linalg.norm(true) or np.inf)) if np.any(true) else float("inf") if distance else 0.0
    if size <= unsure or not size:
        why = "the derivative is zero up to rounding, and most mistakes would leave it zero"
        return Line("d" + name, "cannot tell", error, None, None, why)
    if distance <= max(min(10 * unsure, FINE * size), tolerance * size) and unsure <= UNCLEAR * size:
        return Line("d" + name, "right", error, None)
    if distance <= max(10 * unsure, ITERATED * size * iterates):
        why = f"it is within {error:.0e} of central differences, and the function is not exact enough to tell more"
        return Line("d" + name, "cannot tell", error, None, None, f"{why}; make a solver in it iterate longer")
    if not unsure <= UNCLEAR * size or has_kink(along(np.ones(array.shape)), size, max(eps, noise / size)):
        why = "central differences do not settle here, as at a kink"
        return Line("d" + name, "cannot tell", error, None, None, why)
    c = float(own @ true / (true @ true)) if true.any() else 0.0
    if c and np.linalg.norm(own - c * true) <= max(10 * unsure, tolerance * size):  # along random directions
        return Line("d" + name, "wrong", error, None, *_factor(arguments, c, line.shape, max(1e-5, tolerance)))
    chosen = np.random.default_rng(0).choice(array.size, min(array.size, ELEMENTS), replace=False)
    units = (np.reshape(np.arange(array.size) == i, array.shape).astype(float) for i in chosen)
    expected = np.array([extrapolated_slope(along(unit), eps, noise)[0] for unit in units])
    return Line("d" + name, "wrong", error, None, *_diagnose(line, chosen, expected, max(1e-5, tolerance)))


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
