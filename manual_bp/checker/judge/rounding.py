"""The relative error of a line, and how large it can be in a correct program because of rounding."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from manual_bp.checker.graph.arguments import is_float
from manual_bp.checker.graph.cost_graph import CostGraph
from manual_bp.checker.graph.jaxpr_walk import walk
from manual_bp.checker.judge.cut_graph import CutGraph


def coarsest_eps(graph: CostGraph) -> float:
    """Return the eps of the coarsest dtype in which the cost computes anything that depends on a parameter."""
    found = [float(np.finfo(np.float64).eps)]

    def visit(n: int, equation: Any, operands: list[bool]) -> list[bool]:
        outputs = [any(operands) and is_float(v.aval) for v in equation.outvars]
        active = (v.aval.dtype for v, active in zip(equation.outvars, outputs, strict=True) if active)
        found.extend(float(jnp.finfo(dtype).eps) for dtype in active)
        return outputs

    walk(graph.jaxpr, [name in graph.params for name in graph.inputs], visit, graph.into, lift=lambda _: False)
    return max(found)


def rounding_bound(graph: CostGraph, name: str, eps: float) -> float:
    """Bound the relative error that rounding leaves in a line: eps times depth times the root of the longest sum.

    Rounding errors of a sum of n terms add up like a random walk, and every step back from the cost adds its own.
    """
    longest = max(max(v.aval.shape, default=1) for v in graph.jaxpr.jaxpr.invars)
    return 2 * eps * (1 + graph.depth(name)) * float(np.sqrt(longest))


def rounding_sensitivity(cut: CutGraph, arrays: Sequence, eps: float) -> dict[str, float]:
    """Measure how far each line moves, in norm, per unit of relative change in the arguments.

    A line that is small because large terms cancel moves far, under rounding as well.
    """
    # far above rounding, and small compared with a mistake
    delta, rng = 1e-7 if eps < 1e-10 else 1e-3, np.random.default_rng(0)
    moved = [a * (1 + delta * rng.choice([-1.0, 1.0], a.shape)).astype(a.dtype) if is_float(a) else a for a in arrays]
    before, after = cut(arrays).lines, cut(moved).lines
    return {name: float(np.linalg.norm(after[name] - before[name])) / delta for name in before}


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Return |found - expected| / |expected|, skipping entries that are not finite; infinity if those differ."""
    with np.errstate(invalid="ignore", over="ignore"):
        difference = found - expected
    squares = float(np.vdot(difference, difference)), float(np.vdot(expected, expected))
    if not np.isfinite(squares).all():
        is_finite = np.isfinite(expected)
        if (np.isfinite(found) != is_finite).any():
            return float("inf")
        squares = float(np.sum(difference[is_finite] ** 2)), float(np.sum(expected[is_finite] ** 2))
    if not squares[1]:
        return float("inf") if squares[0] else 0.0
    return float(np.sqrt(squares[0] / squares[1]))
