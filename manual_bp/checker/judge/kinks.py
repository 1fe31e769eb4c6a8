"""Units at a kink of the cost (max, abs, a comparison), where two correct backward passes can differ."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from manual_bp.checker.graph.arguments import is_float
from manual_bp.checker.graph.cost_graph import CostGraph
from manual_bp.checker.graph.jaxpr_walk import CUSTOM_JVP, apply_equation, walk

KINKED = frozenset({"max", "min", "gt", "ge", "lt", "le", "abs", "sign"})
REDUCED = frozenset({"reduce_max", "reduce_min"})


def units_at_a_kink(graph: CostGraph, eps: float, arrays: Sequence) -> Any:
    """Count the units so close to a kink that rounding decides on which side of it they are."""
    near = []

    def visit(n: int, equation: Any, inputs: list[tuple]) -> list[tuple]:
        operands, active = [v for v, _ in inputs], any(a for _, a in inputs)
        if equation.primitive.name in KINKED and active and all(is_float(jnp.asarray(v)) for v in operands):
            near.append(_count_near_zero(operands[0] - (operands[1] if len(operands) > 1 else 0), eps))
        outputs = apply_equation(equation, operands)
        if equation.primitive.name in REDUCED and active:
            kept = jnp.expand_dims(outputs[0], equation.params["axes"])
            near.append(_count_near_zero(operands[0] - kept, eps) - kept.size)  # without the maxima themselves
        return [(o, active) for o in outputs]

    inputs = [(a, name in graph.params) for a, name in zip(arrays, graph.inputs, strict=True)]
    walk(graph.jaxpr, inputs, visit, graph.into | CUSTOM_JVP, lift=lambda c: (c, False))
    return sum(near, jnp.array(0))


def _count_near_zero(difference: Any, eps: float) -> Any:
    distance = jnp.abs(difference)
    return jnp.sum(distance <= 8 * eps * jnp.max(jnp.where(jnp.isfinite(distance), distance, 0)))


def moved_off_kinks(graph: CostGraph, arrays: Sequence) -> list:
    """Move the parameters by a thousandth, so that a unit exactly at its kink no longer is."""
    rng, moved = np.random.default_rng(1), list(arrays)
    for name in graph.params:
        a = np.asarray(arrays[graph.roots[name]])
        size = 1e-3 * (np.sqrt(np.mean(a.astype(np.float64) ** 2)) or 1.0)
        step = (size * rng.choice([-1.0, 1.0], a.shape) * rng.uniform(0.5, 1, a.shape)).astype(a.dtype)
        moved[graph.roots[name]] = arrays[graph.roots[name]] + step
    return moved
