"""Units at a kink of the cost: max, abs, a comparison.

Rounding decides on which side of it they are, and two correct backward passes can differ there.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from manual_bp.checker.graph.arguments import is_float
from manual_bp.checker.graph.cost_graph import CostGraph
from manual_bp.checker.graph.jaxpr_walk import CUSTOM_JVP, walk
from manual_bp.checker.judge.noise import noisy_equations, with_noise
from manual_bp.checker.judge.norms import norm
from manual_bp.checker.judge.rounding import moved_by, noise_size

KINKED = frozenset({"max", "min", "gt", "ge", "lt", "le", "eq", "ne", "abs", "sign"})
REDUCED = frozenset({"reduce_max", "reduce_min"})
FAR = 1e4  # the size of an element among ordinary ones, as of a mask


def kink_differences(graph: CostGraph, names: tuple[str, ...], arrays: Sequence, size: Any, draw: Any) -> list[tuple]:
    """Return the difference whose sign each max, abs or comparison takes, and the size of what it compares.

    Each result in the cost has a relative error of this size. Only what follows from the names is compared. The third
    number is how many differences are 0 in any case: those of the maxima themselves.
    """
    found, noisy = [], noisy_equations(size, draw)

    def visit(n: int, equation: Any, inputs: list[tuple]) -> list[tuple]:
        operands, active = [v for v, _ in inputs], any(a for _, a in inputs)
        is_nan = len({id(v) for v in equation.invars}) < len(operands)  # x != x
        floats = all(is_float(jnp.asarray(v)) for v in operands)
        if equation.primitive.name in KINKED and active and floats and not is_nan:
            found.append(_difference(*operands))
        outputs = noisy(n, equation, operands)
        if equation.primitive.name in REDUCED and active:
            kept = jnp.expand_dims(outputs[0], equation.params["axes"])
            found.append((*_difference(operands[0], kept)[:2], kept.size))
        return [(o, active) for o in outputs]

    noisy_arrays = [with_noise(a, size, i + draw) for i, a in enumerate(arrays)]
    inputs = [(a, name in names) for a, name in zip(noisy_arrays, graph.inputs, strict=True)]
    walk(graph.jaxpr, inputs, visit, graph.into | CUSTOM_JVP, lift=lambda c: (c, False))
    return found


def _difference(a: Any, b: Any = 0.0) -> tuple:
    return a - b, jnp.maximum(jnp.abs(a), jnp.abs(b)), 0


def units_at_a_kink(differences: Callable, params: Sequence, eps: float, arrays: Sequence, names: Sequence = ()) -> int:
    """Count the units so close to a kink that rounding decides on which side of it they are.

    They are functions of the parameters, or of these names. `differences` is `kink_differences` of a graph. What
    rounding does to a unit is measured, because -1e30 in the place of a mask says nothing about the other units.
    """
    delta, active = noise_size(eps), (*params, *names)
    here, *moved = [differences(active, arrays, delta * (draw > 0), draw) for draw in range(4)]
    count = 0
    with np.errstate(all="ignore"):
        for (d, size, zeros), *others in zip(here, *moved, strict=True):
            d, size, *others = (np.asarray(a, np.float64) for a in (d, size, *(o[0] for o in others)))
            spread = np.max([np.nan_to_num(abs(o - d), posinf=0.0) for o in others], axis=0) / delta
            near = np.isfinite(d) & (abs(d) <= 8 * eps * np.maximum(size, spread))
            count += max(int(near.sum()) - int(zeros), 0)
    return count


def moved_off_kinks(graph: CostGraph, arrays: Sequence, names: Iterable[str], by: float = 1e-3) -> list:
    """Move these parameters and arguments by about a thousandth, so that a unit exactly at its kink no longer is."""
    rng, moved = np.random.default_rng(1), {}
    for name in names:
        a = np.asarray(arrays[graph.roots[name]])
        step = by * _own_size(a.astype(np.float64)) * rng.choice([-1.0, 1.0], a.shape) * rng.uniform(0.5, 1, a.shape)
        moved[name] = moved_by(arrays[graph.roots[name]], step)
    return graph.with_roots(arrays, moved)


def _own_size(a: np.ndarray) -> np.ndarray:
    """Return the size by which each element can be moved: that of the array, but its own where that is far larger.

    What is larger by 1e9 stands for infinity, as in a mask, and is not moved.
    """
    sizes = np.abs(a)
    ordinary = sizes < FAR if (sizes < FAR).any() else np.isfinite(a)
    typical = norm(a[ordinary]) / np.sqrt(max(1, ordinary.sum())) or 1.0
    limit = max(1.0, typical)
    return np.where(sizes > FAR * limit, np.where(sizes >= 1e9 * limit, 0, sizes), typical)
