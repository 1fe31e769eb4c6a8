"""The dtype in which a cost or a line is computed, and how far rounding in it can move a correct line."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.extend import core

from manual_bp.checker.graph.arguments import is_float
from manual_bp.checker.graph.cost_graph import CostGraph
from manual_bp.checker.graph.jaxpr_walk import walk
from manual_bp.checker.judge.cut_graph import Arrays, CutGraph
from manual_bp.checker.judge.norms import norm, projection

DRAWS = 8


class Move(NamedTuple):
    """How far a line moves, in norm, and how far the factor moves by which it is a multiple of itself unmoved."""

    distance: float
    factor: float


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


def eps_of_values(lines: Arrays) -> dict[str, float]:
    """Return the eps of the narrowest dtype to which the values of each line are rounded, such as float32 in float64.

    That all are exact there shows nothing, because small integers are. Multiples of one number, as integers are, are
    not rounded up to 2**bits; those beyond are multiples of 2, 4 and so on only if they are. All lines of a pass count
    together, since a number alone shows no rounding.
    """
    found = dict.fromkeys(lines, float(np.finfo(np.float64).eps))
    values = {n: np.asarray(line, np.float64) for n, line in lines.items()}
    values = {n: v[np.isfinite(v) & (v != 0)] for n, v in values.items()}
    for bits in (24, 11, 8):  # float32, float16, bfloat16
        values = {n: v for n, v in values.items() if v.size and np.all(np.frexp(v)[0] * 2.0**bits % 1 == 0)}
        rounded = [_rounded_bits(v, bits) for v in values.values()]
        if rounded and np.sum(all_bits := np.concatenate(rounded)) >= 16 and np.mean(all_bits) >= 1:
            found |= dict.fromkeys(values, 2.0 ** (1 - bits))
    return found


def _rounded_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Count the bits that rounding took from each value, if all were multiples of the largest possible number."""
    # what cancellation left has a last bit far below those of the others
    mantissas, exponents = np.frexp(values[abs(values) >= 2.0**-16 * abs(values).max()])
    whole = (abs(mantissas) * 2.0**53).astype(np.int64)
    last = exponents - 53 + np.log2(whole & -whole).astype(int)
    return np.maximum(exponents - last.min() - bits, 0)


def coarsest_eps_inside(jaxpr: Any) -> float:
    """Return the eps of the coarsest float dtype of any equation of a jaxpr, in loops and branches too."""
    found = [float(np.finfo(np.float64).eps)]
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        found.extend(float(jnp.finfo(v.aval.dtype).eps) for v in equation.outvars if is_float(v.aval))
        found.extend(map(coarsest_eps_inside, core.jaxprs_in_params(equation.params)))
    return max(found)


def rounding_bound(graph: CostGraph, name: str, eps: float) -> float:
    """Bound the relative error that rounding leaves in a line: eps times depth times the root of the longest sum.

    Rounding errors of a sum of n terms add up like a random walk, and every step back from the cost adds its own.
    """
    return 2 * (1 + graph.depth(name)) * rounding_of_sums(graph, eps)


def noise_size(eps: float) -> float:
    """Return a relative change far above rounding, and small compared with a mistake."""
    return 1e-7 if eps < 1e-10 else max(1e-3, 4 * eps)


def rounding_of_sums(graph: CostGraph, eps: float) -> float:
    return eps * float(np.sqrt(max(max(v.aval.shape, default=1) for v in graph.jaxpr.jaxpr.invars)))


def rounding_sensitivity(cut: CutGraph, arrays: Sequence, eps: float, inside: bool = False) -> dict[str, Move]:
    """Measure how far each line moves, in norm, per unit of relative change in the arguments.

    A line that is small because large terms cancel moves far, under rounding as well. With `inside`, every result in
    the cost is changed instead: terms can also cancel where the arguments alone do not show it, as in 1 - tanh(z)^2.
    """
    delta, rng = noise_size(eps), np.random.default_rng(0)
    before = cut(arrays).lines
    if inside:
        moved_lines = [cut.with_noise(arrays, delta, draw).lines for draw in range(4)]
    else:
        signs = [rng.choice([-1.0, 1.0], a.shape) if is_float(a) else None for a in arrays]
        pairs = zip(arrays, signs, strict=True)
        moved = [a if s is None else moved_by(a, np.asarray(a, np.float64) * delta * s) for a, s in pairs]
        moved_lines = [cut(moved).lines]
    found = _moves(before, moved_lines)
    return {n: Move(*(np.nan_to_num(part, posinf=0.0) / delta for part in move)) for n, move in found.items()}


def rounding_distances(cut: CutGraph, arrays: Sequence, eps: float, of_values: bool = False) -> dict[str, Move]:
    """Measure how far each line, or value, moves, in norm, where the arguments and every result are off by eps.

    That is twice what rounding to nearest does at most, so that a few times as much bounds a correct program.
    """
    results, rng = [cut(arrays)], np.random.default_rng(0)
    for draw in range(DRAWS):
        signs = [rng.choice([-1.0, 1.0], a.shape) if is_float(a) else None for a in arrays]
        near = [
            a if s is None else moved_by(a, np.asarray(a, np.float64) * eps * s)
            for a, s in zip(arrays, signs, strict=True)
        ]
        results.append(cut.with_noise(near, eps, draw))
    before, *moved = (r.node_values if of_values else r.lines for r in results)
    return _moves(before, moved)


def _moves(before: Arrays, moved: Sequence[Arrays]) -> dict[str, Move]:
    """Return the farthest moves; one of which nothing is finite is infinite."""
    with np.errstate(all="ignore"):
        distances = {n: [norm(lines[n] - line) for lines in moved] for n, line in before.items()}
        factors = {n: [abs(projection(lines[n], line) - 1) for lines in moved] for n, line in before.items()}
    return {n: Move(_largest(distances[n]), _largest(factors[n])) for n in before}


def _largest(found: Sequence[float]) -> float:
    return max((d for d in found if not np.isnan(d)), default=np.inf)


def moved_by(a: Any, step: np.ndarray) -> Any:
    """Return the array moved by the step, or against it where the sum would overflow; infinities stay."""
    values = np.asarray(a)
    with np.errstate(over="ignore", invalid="ignore"):
        beyond = ~np.isfinite((values + step).astype(values.dtype))
        return a + np.where(np.isfinite(values), np.where(beyond, -step, step), 0).astype(values.dtype)
