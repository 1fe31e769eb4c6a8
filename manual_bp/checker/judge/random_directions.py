"""Derivatives along random directions: central differences of the cost, and second derivatives of the lines.

Central differences check autodiff itself, and lines for which there is no autodiff.
"""

import math
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.extend import core

from manual_bp.checker._report import Line
from manual_bp.checker.judge.returned_lines import read_lines
from manual_bp.checker.judge.rounding import relative_error, rounding_bound
from manual_bp.checker.judge.traced_cost import TracedCost
from manual_bp.checker.judge.verdicts import Judgement

STEPS = tuple(10.0**-k for k in range(1, 9))
SECOND_ORDER_STEP = 1e-5


def compare_autodiff(traced: TracedCost, directions: int = 3) -> tuple[bool, str]:
    """Compare <gradient, v> with (C(p + h v) - C(p - h v)) / 2h for random v of norm 1; return the result and a note.

    The error of the difference falls as h^2 until rounding, eps C / h, dominates, so the best step h counts.
    """
    lines = traced.cut_for(traced.graph.params)(traced.arguments.arrays).lines
    gradient = {n: lines[n] for n in traced.graph.params}
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


def judge_second_order(traced: TracedCost, backward: Callable, judgement: Judgement) -> Iterator[Line]:
    """Compare d/dt of each right line at params + t v, for a random v, with autodiff's.

    JAX differentiates backward. A NumPy backward is differentiated by central differences, accurate to 1e-6.
    """
    graph, arguments = traced.graph, traced.arguments
    names = judgement.with_verdict("right")
    rng = np.random.default_rng(0)
    params = {name: arguments.arrays[graph.roots[name]] for name in graph.params}
    v = {name: rng.normal(size=np.shape(p)).astype(p.dtype) for name, p in params.items()}

    def arrays_at(t: object) -> list:
        return graph.with_roots(arguments.arrays, {name: p + t * v[name] for name, p in params.items()})

    cut = traced.cut_for(names)
    true = jax.jvp(lambda t: cut.traced(arrays_at(t)), (0.0,), (1.0,))[1]

    def lines_at(t: object) -> dict:
        rebuilt = arguments.rebuild(arrays_at(t))
        lines = read_lines(backward(*rebuilt), rebuilt[0], traced.names()).found
        return {n: lines[n] for n in names}

    try:
        found, limit = jax.jvp(lines_at, (0.0,), (1.0,))[1], None
    except jax.errors.TracerArrayConversionError:
        after, before = lines_at(SECOND_ORDER_STEP), lines_at(-SECOND_ORDER_STEP)
        found, limit = {n: (after[n] - before[n]) / (2 * SECOND_ORDER_STEP) for n in names}, 1e-6
    for name in names:
        a, b = np.asarray(found[name], np.float64), np.asarray(true[name], np.float64)
        a = a.T if name in judgement.transposed else a
        if name in graph.nodes:
            a = a / judgement.scale if judgement.weights is None else a * judgement.weights
        error = relative_error(a, b)
        ok = error <= (limit or 16 * rounding_bound(graph, name, traced.eps))
        why = "" if ok else "the line is right here, but its derivative along a random direction of params is not"
        yield Line(f"d(d{name})", "right" if ok else "wrong", error, None, None if ok else "second order", why)


def _slopes(traced: TracedCost) -> Callable[[dict, float], float]:
    """Return the function of v (directions by root) and h that computes (C(p + h v) - C(p - h v)) / 2h."""
    graph, arrays = traced.graph, traced.arguments.arrays
    cost = jax.jit(core.jaxpr_as_fun(graph.jaxpr))

    def cost_along(v: dict, h: float) -> float:
        start = {name: arrays[graph.roots[name]] for name in v}
        moved = {name: a + (h * v[name]).astype(a.dtype) for name, a in start.items()}
        return float(cost(*graph.with_roots(arrays, moved))[0])

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
