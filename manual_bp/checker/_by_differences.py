"""The check of a cost that autodiff cannot take, such as one in NumPy or with a while_loop, by differences."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from manual_bp.checker._report import Line, Report
from manual_bp.checker.diagnose.constant_factors import constant_mistake
from manual_bp.checker.graph.arguments import Arguments, flatten_arguments, is_float
from manual_bp.checker.graph.nodes import call_with_tap
from manual_bp.checker.judge.returned_lines import call_backward
from manual_bp.checker.judge.rounding import relative_error

DIRECTIONS, ELEMENTS = 6, 64
TOLERANCE = 1e-6
UNCLEAR = 1e-3  # an estimated error above which a difference tells nothing


def report_by_differences(
    cost: Callable, backward: Callable, params: Any, args: tuple, reason: str, tolerance: float | None, traceable: bool
) -> Report:
    """Compare the lines of the parameters and arguments with central differences along random directions."""
    arguments = flatten_arguments(cost, params, args).cast(np.float64)
    places = {n: i for i, (n, a) in enumerate(zip(arguments.names, arguments.arrays, strict=True)) if is_float(a)}
    returned = call_backward(backward, arguments.copies(), list(dict.fromkeys([*arguments.params, *places])))

    def of_arrays(arrays: list) -> Any:
        return call_with_tap(cost, arguments.rebuild(arrays), lambda name, value: value)

    evaluate = jax.jit(of_arrays) if traceable else of_arrays

    def cost_at(place: int, array: np.ndarray) -> float:
        arrays = arguments.copied_arrays()
        arrays[place] = array
        return float(evaluate(arrays))

    lines = [
        _judge(arguments, cost_at, place, n, returned.found[n], tolerance or TOLERANCE)
        for n, place in places.items()
        if n in returned.found
    ]
    verdict, mistake = ("wrong", "raised") if returned.raised else ("cannot tell", None)
    lines += [Line(name, verdict, None, None, mistake, fault) for name, fault in returned.faults.items()]
    missing = ", ".join("d" + n for n in arguments.params if n not in returned.found)
    notes = [f"judged by central differences, because autodiff of the cost is not possible: {reason}"]
    notes += [f"not returned, so not judged: {missing}"] * bool(missing)
    here = float(evaluate(arguments.copied_arrays()))
    return Report(tuple(lines), (), tuple(notes), "float64", here, "central differences")


def _judge(arguments: Arguments, cost_at: Callable, place: int, name: str, line: np.ndarray, tolerance: float) -> Line:
    array, rng = np.asarray(arguments.arrays[place], np.float64), np.random.default_rng(0)
    if line.shape != array.shape:
        return Line(
            "d" + name, "wrong", None, None, "wrong shape", f"it has shape {line.shape}; expected {array.shape}"
        )

    ones = np.ones(array.shape)

    def slope(v: np.ndarray) -> tuple[float, float]:
        return extrapolated_slope(lambda t: cost_at(place, array + t * v))

    own, true, errors = [], [], []
    for _ in range(DIRECTIONS):
        v = rng.normal(size=array.shape)
        v /= np.linalg.norm(v)
        d, error = slope(v)
        own, true, errors = [*own, float(np.sum(line * v))], [*true, d], [*errors, error]
    size = float(max(np.linalg.norm(true), np.linalg.norm(own)))
    if not size:
        return Line(
            "d" + name, "cannot tell", 0.0, None, None, "the derivative is zero, and most mistakes would leave it zero"
        )
    distance, unsure = np.linalg.norm(np.subtract(own, true)), np.linalg.norm(errors)
    error = float(distance / (np.linalg.norm(true) or np.inf)) if np.any(true) else float("inf")
    if distance <= max(10 * unsure, tolerance * size) and unsure <= UNCLEAR * size:
        return Line("d" + name, "right", error, None)
    if not unsure <= UNCLEAR * size or has_kink(lambda t: cost_at(place, array + t * ones), size):
        return Line(
            "d" + name, "cannot tell", error, None, None, "central differences do not settle here, as at a kink"
        )
    chosen = rng.choice(array.size, min(array.size, ELEMENTS), replace=False)
    units = (np.reshape(np.arange(array.size) == i, array.shape).astype(float) for i in chosen)
    expected = np.array([slope(unit)[0] for unit in units])
    return Line("d" + name, "wrong", error, None, *_diagnose(arguments, line, chosen, expected))


def _diagnose(arguments: Arguments, line: np.ndarray, chosen: np.ndarray, expected: np.ndarray) -> tuple[str, str]:
    """Name the factor or the transpose by which the elements chosen differ, or the element that is the farthest off."""
    found = line.ravel()[chosen]
    if not line.any():
        return "zero", f"it is 0 everywhere; it should have elements up to {np.abs(expected).max():.3g}"
    c = float(found @ expected / (expected @ expected)) if expected.any() else 0.0
    if abs(c - 1) > 1e-4 and c and relative_error(found, c * expected) <= 1e-5:
        return constant_mistake(c, _examples(arguments), line.shape, 1e-5)[:2]
    if line.ndim == 2 and line.shape[0] == line.shape[1] and relative_error(line.T.ravel()[chosen], expected) <= 1e-5:
        return "transposed", "it is transposed"
    worst = int(np.argmax(np.abs(found - expected)))
    at = [int(i) for i in np.unravel_index(chosen[worst], line.shape)]
    return "unknown", f"no factor fits; most at {at}, found {found[worst]:.6g}, expected {expected[worst]:.6g}"


def _examples(arguments: Arguments) -> int:
    """Return the size that all arguments besides the parameters share, or 1."""
    shapes = [np.shape(a) for n, a in zip(arguments.names, arguments.arrays, strict=True) if n not in arguments.params]
    common = set.intersection(*map(set, shapes)) if shapes and all(shapes) else set()
    return max(common, default=1)


def has_kink(f: Callable[[float], float], slope: float) -> bool:
    """Return whether the slopes on both sides of 0 differ: (f(h) - 2 f(0) + f(-h)) / h does not fall with h then."""
    wide, narrow = (abs(f(h) - 2 * f(0.0) + f(-h)) / h for h in (1e-4, 5e-5))
    return narrow > 1e-3 * slope and narrow > 0.9 * wide


def extrapolated_slope(f: Callable[[float], float]) -> tuple[float, float]:
    """Return f'(0) and an estimate of its error, by Ridders' extrapolation of central differences (1982)."""
    h, ratio, table = 0.1, 1.4, list[list[float]]()
    best, smallest = np.nan, np.inf
    for row in range(10):
        table.append([(f(h) - f(-h)) / (2 * h)])
        for k in range(1, row + 1):
            factor = ratio ** (2 * k)
            table[row].append((factor * table[row][k - 1] - table[row - 1][k - 1]) / (factor - 1))
            error = max(abs(table[row][k] - table[row][k - 1]), abs(table[row][k] - table[row - 1][k - 1]))
            if error <= smallest:
                best, smallest = table[row][k], error
        if row and abs(table[row][row] - table[row - 1][row - 1]) >= 2 * smallest:
            break
        h /= ratio
    return best, smallest
