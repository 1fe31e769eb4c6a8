"""Central differences of the cost, to check autodiff itself, or lines for which there is no autodiff."""

import math
from collections.abc import Callable, Iterator

import jax
import numpy as np

from manual_bp.checker._report import Line
from manual_bp.checker.graph.jaxpr_walk import apply_equation, walk
from manual_bp.checker.judge.traced_cost import TracedCost

STEPS = tuple(10.0**-k for k in range(1, 9))


def compare_autodiff(traced: TracedCost, directions: int = 3) -> tuple[bool, str]:
    """Compare <gradient, v> with (C(p + h v) - C(p - h v)) / 2h for random v of norm 1; return the result and a note.

    The error of the difference falls as h^2 until rounding, eps C / h, dominates, so the best step h counts.
    """
    gradient = traced.cut((), traced.graph.params)(traced.arguments.arrays).lines
    size = np.sqrt(sum(float(np.sum(g * g)) for g in gradient.values())) or 1.0
    slope_along = _slopes(traced)
    worst, at = 0.0, STEPS[0]
    for v in _random_directions(gradient, directions):
        slope = sum(float(np.sum(gradient[n] * v[n])) for n in v)
        error, h = min((_or_infinity(abs(slope_along(v, h) - slope) / size), h) for h in STEPS)
        if error >= worst:
            worst, at = error, h
    differences = f"central differences of the cost along {directions} random directions"
    if worst <= _largest_error(traced):
        return True, f"{differences} agree with autodiff within {worst:.0e} of the gradient's norm, at step {at:.0e}"
    return False, (
        f"{differences} differ from autodiff by {worst:.1e} of the gradient's norm at the best of the steps "
        f"{STEPS[0]:.0e} to {STEPS[-1]:.0e}: autodiff does not give the derivative of this cost here; look for a "
        "stop_gradient, a rounding, a custom rule, or a kink"
    )


def judge_by_differences(traced: TracedCost, found: dict[str, np.ndarray], directions: int = 8) -> Iterator[Line]:
    """Compare each line along random directions with central differences, where autodiff is not available."""
    slope_along = _slopes(traced)
    for name, line in found.items():
        line, errors = np.asarray(line, np.float64), []
        for v in _random_directions({name: line}, directions):
            slopes = [slope_along(v, h) for h in STEPS]
            own = float(np.sum(line * v[name]))
            errors.append(min(_or_infinity(abs(s - own) / max(abs(s), abs(own), 1e-300)) for s in slopes))
        error = max(errors)
        ok = error <= _largest_error(traced)
        diagnosis = "" if ok else f"its component along a random direction has a relative error of {error:.1e}"
        yield Line("d" + name, "right" if ok else "wrong", error, None, None if ok else "unknown", diagnosis)


def _slopes(traced: TracedCost) -> Callable[[dict, float], float]:
    """Return the function of v (directions by root) and h that computes (C(p + h v) - C(p - h v)) / 2h."""
    graph, arrays = traced.graph, traced.arguments.arrays

    @jax.jit
    def cost(arrays: list) -> jax.Array:
        return walk(graph.jaxpr, arrays, lambda n, equation, operands: apply_equation(equation, operands), graph.into)[
            0
        ]

    def cost_along(v: dict, h: float) -> float:
        moved = list(arrays)
        for name, direction in v.items():
            place = graph.roots[name]
            moved[place] = arrays[place] + (h * direction).astype(arrays[place].dtype)
        return float(cost(moved))

    return lambda v, h: (cost_along(v, h) - cost_along(v, -h)) / (2 * h)


def _random_directions(like: dict[str, np.ndarray], number: int) -> Iterator[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    for _ in range(number):
        v = {name: rng.normal(size=a.shape) for name, a in like.items()}
        norm = np.sqrt(sum(float(np.sum(a * a)) for a in v.values()))
        yield {name: a / norm for name, a in v.items()}


def _or_infinity(error: float) -> float:
    """Disregard a step that leaves the domain of the cost, so that the error is nan."""
    return error if math.isfinite(error) else math.inf


def _largest_error(traced: TracedCost) -> float:
    return 1e-6 if traced.eps < 1e-10 else 3e-2
