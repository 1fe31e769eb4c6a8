"""The relative error of a line, how large rounding can make it in a correct program, and units at a kink.

At a kink of the cost (max, abs, a comparison), rounding decides, and two correct backward passes can differ.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.extend import core

from manual_bp.checker.graph.arguments import is_float
from manual_bp.checker.graph.cost_graph import CostGraph
from manual_bp.checker.graph.jaxpr_walk import CUSTOM_JVP, walk
from manual_bp.checker.judge.cut_graph import Arrays, CutGraph
from manual_bp.checker.judge.noise import noisy_equations, with_noise
from manual_bp.checker.judge.norms import norm, projection

KINKED = frozenset({"max", "min", "gt", "ge", "lt", "le", "eq", "ne", "abs", "sign"})
REDUCED = frozenset({"reduce_max", "reduce_min"})
FAR = 1e4  # the size of an element among ordinary ones, as of a mask
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


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Return |found - expected| / |expected|, skipping entries that are not finite; infinity if those differ."""
    with np.errstate(invalid="ignore", over="ignore"):
        difference = found - expected
        sizes = norm(difference), norm(expected)
        if not np.isfinite(sizes).all():
            is_finite = np.isfinite(expected)
            if (np.isfinite(found) != is_finite).any():
                return float("inf")
            sizes = norm(difference[is_finite]), norm(expected[is_finite])
        if not sizes[1]:
            return float("inf") if sizes[0] else 0.0
        return float(np.divide(*sizes))


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
