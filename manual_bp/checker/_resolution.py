"""How close two correct programs have to be: the bound of a line, and what rounding alone can do to it."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from manual_bp.checker._cut import Cut
from manual_bp.checker._graph import Graph
from manual_bp.checker._inputs import is_float
from manual_bp.checker._walk import CUSTOM_JVP, evaluate, walk

KINKED = frozenset({"max", "min", "gt", "ge", "lt", "le", "abs", "sign"})
REDUCED = frozenset({"reduce_max", "reduce_min"})


def eps_of(graph: Graph) -> float:
    """The spacing of the coarsest dtype in which the cost computes anything that depends on a parameter."""
    found = [float(np.finfo(np.float64).eps)]

    def step(n: int, equation: Any, values: list[bool]) -> list[bool]:
        outputs = [any(values) and is_float(v.aval) for v in equation.outvars]
        found.extend(
            float(jnp.finfo(v.aval.dtype).eps) for v, active in zip(equation.outvars, outputs, strict=True) if active
        )
        return outputs

    walk(graph.jaxpr, [name in graph.params for name in graph.inputs], step, graph.into, lift=lambda _: False)
    return max(found)


def bound(graph: Graph, name: str, eps: float) -> float:
    """The relative error, in norm, that rounding may leave in a line: eps times steps times root of the longest sum.

    Rounding errors of a sum of n terms add up like a random walk, and each step from the cost back adds its own.
    """
    longest = max(max(v.aval.shape, default=1) for v in graph.jaxpr.jaxpr.invars)
    return 2 * eps * (1 + graph.depth(name)) * float(np.sqrt(longest))


def noise(cut: Cut, arrays: Sequence, eps: float) -> dict[str, float]:
    """How far each line moves, in norm, per unit of relative change of what it is computed from.

    A line that is small because large terms cancel moves far: rounding, a relative change of eps, moves it too.
    """
    # far above rounding itself, and small beside what is to be seen
    delta, rng = 1e-7 if eps < 1e-10 else 1e-3, np.random.default_rng(0)
    moved = [a * (1 + delta * rng.choice([-1.0, 1.0], a.shape)).astype(a.dtype) if is_float(a) else a for a in arrays]
    before, after = cut(arrays).lines, cut(moved).lines
    return {name: float(np.linalg.norm(after[name] - before[name])) / delta for name in before}


def units_at_a_kink(graph: Graph, eps: float, arrays: Sequence) -> Any:
    """How many units are so close to a kink (max, abs, a comparison) that correct passes may take either side."""
    near = []

    def step(n: int, equation: Any, inputs: list[tuple]) -> list[tuple]:
        values, active = [v for v, _ in inputs], any(a for _, a in inputs)
        if equation.primitive.name in KINKED and active and all(is_float(jnp.asarray(v)) for v in values):
            near.append(_near(values[0] - (values[1] if len(values) > 1 else 0), eps))
        outputs = evaluate(equation, values)
        if equation.primitive.name in REDUCED and active:
            kept = jnp.expand_dims(outputs[0], equation.params["axes"])
            near.append(_near(values[0] - kept, eps) - kept.size)  # each maximum is one itself
        return [(o, active) for o in outputs]

    inputs = [(a, name in graph.params) for a, name in zip(arrays, graph.inputs, strict=True)]
    walk(graph.jaxpr, inputs, step, graph.into | CUSTOM_JVP, lift=lambda c: (c, False))
    return sum(near, jnp.array(0))


def _near(difference: Any, eps: float) -> Any:
    distance = jnp.abs(difference)
    return jnp.sum(distance <= 8 * eps * jnp.max(jnp.where(jnp.isfinite(distance), distance, 0)))


def moved_off_kinks(graph: Graph, arrays: Sequence) -> list:
    """The parameters moved by a thousandth, so that a unit that was exactly at its kink no longer is."""
    rng, moved = np.random.default_rng(1), list(arrays)
    for name in graph.params:
        a = np.asarray(arrays[graph.roots[name]])
        size = 1e-3 * (np.sqrt(np.mean(a.astype(np.float64) ** 2)) or 1.0)
        step = (size * rng.choice([-1.0, 1.0], a.shape) * rng.uniform(0.5, 1, a.shape)).astype(a.dtype)
        moved[graph.roots[name]] = arrays[graph.roots[name]] + step
    return moved


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """|found - expected| / |expected|. Entries that are not finite have to be so in both, then not counted."""
    with np.errstate(invalid="ignore", over="ignore"):
        difference = found - expected
    squares = float(np.vdot(difference, difference)), float(np.vdot(expected, expected))
    if not np.isfinite(squares).all():
        finite = np.isfinite(expected)
        if (np.isfinite(found) != finite).any():
            return float("inf")
        squares = float(np.sum(difference[finite] ** 2)), float(np.sum(expected[finite] ** 2))
    if not squares[1]:
        return float("inf") if squares[0] else 0.0
    return float(np.sqrt(squares[0] / squares[1]))
