"""Autodiff itself against central differences of the cost, over a sweep of steps."""

import math
from collections.abc import Callable, Iterator

import jax
import numpy as np

from manual_bp.checker._prepare import Prepared
from manual_bp.checker._report import Line
from manual_bp.checker._walk import evaluate, walk

STEPS = tuple(10.0**-k for k in range(1, 9))


def agreement(prepared: Prepared, directions: int = 3) -> tuple[bool, str]:
    """Whether, with a sentence, <gradient, v> is (C(p + h v) - C(p - h v)) / 2h, v random of norm 1, for some step h.

    The error of the difference falls as h^2 until rounding, eps C / h, takes over: the smallest over the steps counts.
    """
    gradient = prepared.cuts((), prepared.graph.params)(prepared.inputs.arrays).lines
    size = np.sqrt(sum(float(np.sum(g * g)) for g in gradient.values())) or 1.0
    slope_of = _slopes(prepared)
    worst, at = 0.0, STEPS[0]
    for v in _directions(gradient, directions):
        slope = sum(float(np.sum(gradient[n] * v[n])) for n in v)
        error, h = min((_or_infinite(abs(slope_of(v, h) - slope) / size), h) for h in STEPS)
        if error >= worst:
            worst, at = error, h
    what = f"central differences of the cost along {directions} random directions"
    if worst <= _limit(prepared):
        return True, f"{what} agree with autodiff within {worst:.0e} of the gradient's norm, at step {at:.0e}"
    return False, (
        f"{what} differ from autodiff by {worst:.1e} of the gradient's norm at the best of the steps {STEPS[0]:.0e} "
        f"to {STEPS[-1]:.0e}: autodiff does not give the derivative of this cost here; look for a stop_gradient, a "
        "rounding, a custom rule, or a kink"
    )


def against_differences(prepared: Prepared, found: dict[str, np.ndarray], directions: int = 8) -> Iterator[Line]:
    """Each line along random directions of its own, against central differences, where autodiff cannot be had."""
    slope_of = _slopes(prepared)
    for name, line in found.items():
        line, errors = np.asarray(line, np.float64), []
        for v in _directions({name: line}, directions):
            slopes = [slope_of(v, h) for h in STEPS]
            mine = float(np.sum(line * v[name]))
            errors.append(min(_or_infinite(abs(s - mine) / max(abs(s), abs(mine), 1e-300)) for s in slopes))
        error = max(errors)
        ok = error <= _limit(prepared)
        says = "" if ok else f"along a random direction it is off by {error:.1e} of its size"
        yield Line("d" + name, "right" if ok else "wrong", error, None, None if ok else "unknown", says)


def _slopes(prepared: Prepared) -> Callable[[dict, float], float]:
    """(C(p + h v) - C(p - h v)) / 2h as a function of v, a dict of directions by root, and h."""
    graph, arrays = prepared.graph, prepared.inputs.arrays

    @jax.jit
    def cost(arrays: list) -> jax.Array:
        return walk(graph.jaxpr, arrays, lambda n, equation, values: evaluate(equation, values), graph.into)[0]

    def along(v: dict, h: float) -> float:
        moved = list(arrays)
        for name, direction in v.items():
            place = graph.roots[name]
            moved[place] = arrays[place] + (h * direction).astype(arrays[place].dtype)
        return float(cost(moved))

    return lambda v, h: (along(v, h) - along(v, -h)) / (2 * h)


def _directions(like: dict[str, np.ndarray], number: int) -> Iterator[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    for _ in range(number):
        v = {name: rng.normal(size=a.shape) for name, a in like.items()}
        norm = np.sqrt(sum(float(np.sum(a * a)) for a in v.values()))
        yield {name: a / norm for name, a in v.items()}


def _or_infinite(error: float) -> float:
    """A long step may leave the domain of the cost; that says nothing against a shorter one."""
    return error if math.isfinite(error) else math.inf


def _limit(prepared: Prepared) -> float:
    return 1e-6 if prepared.eps < 1e-10 else 3e-2
