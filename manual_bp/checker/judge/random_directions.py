"""Derivatives along random directions by central differences of the cost: where autodiff cannot go, and to check it."""

import math
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.extend import core

from manual_bp.checker.judge.norms import norm
from manual_bp.checker.judge.traced_cost import TracedCost

STARTS = (0.1, 1e-2, 1e-3, 1e-4)  # the largest step of an extrapolation; a smaller one if that leaves the domain
EPS = float(np.finfo(np.float64).eps)


def compare_autodiff(traced: TracedCost, directions: int = 3) -> tuple[bool, str]:
    """Compare <gradient, v> with central differences of the cost, for random v; return a note too.

    Each parameter has its own directions, in steps relative to its size.
    """
    graph, arrays = traced.graph, traced.arguments.arrays
    lines, cost = traced.cut_for(graph.params)(arrays).lines, compiled_cost(traced)
    gradient = {n: lines[n] for n in graph.params}
    start = {n: arrays[graph.roots[n]] for n in gradient}
    scales = {n: typical_size(np.asarray(a, np.float64)) for n, a in start.items()}
    whole = norm(np.array([scales[n] * norm(g) for n, g in gradient.items()])) or 1.0
    worst, limit = 0.0, 1e-6 if traced.eps < 1e-10 else 3e-2
    for name, g in gradient.items():
        size = scales[name] * norm(g)
        for v in random_directions({name: g}, directions):
            step = scales[name] * v[name]

            def along(t: float, name: str = name, step: np.ndarray = step) -> float:
                moved = start[name] + (t * step).astype(start[name].dtype)
                return cost(graph.with_roots(arrays, {name: moved}))

            slope, unsure = extrapolated_slope(along, traced.eps)
            off = abs(slope - float(np.sum(g * step)))
            # a derivative that is small beside the others is not known better than rounding lets it be
            error = off / (whole if off <= min(100 * unsure, limit * whole) else size or whole)
            worst = max(worst, error if np.isfinite(error) else np.inf)
    differences = f"central differences of the cost along {directions} random directions"
    if worst <= limit:
        return True, f"{differences} agree with autodiff within {worst:.0e} of the gradient's norm"
    return False, (
        f"{differences} differ from autodiff by {worst:.1e} of the gradient's norm: autodiff does not give the "
        "derivative of this cost here; look for a stop_gradient, a rounding, a custom rule, or a kink"
    )


def compiled_cost(traced: TracedCost) -> Callable[[list], float]:
    """Compile the cost as a function of its arrays."""
    cost = jax.jit(core.jaxpr_as_fun(traced.graph.jaxpr))
    return lambda arrays: float(cost(*arrays)[0])


def typical_size(array: np.ndarray) -> float:
    """Return the root mean square of the elements, or 1 if they are all 0."""
    return norm(array) / math.sqrt(max(1, array.size)) or 1.0


def random_directions(like: dict[str, np.ndarray], number: int) -> Iterator[dict[str, np.ndarray]]:
    """Draw directions of norm 1, all arrays together."""
    rng = np.random.default_rng(0)
    for _ in range(number):
        v = {name: rng.normal(size=a.shape) for name, a in like.items()}
        norm = np.sqrt(sum(float(np.sum(a * a)) for a in v.values()))
        yield {name: a / norm for name, a in v.items()}


def noise_of(f: Callable[[float], float]) -> float:
    """Return the standard deviation of the noise in f(t) near 0, such as that of a solver that stops early, or 0.

    The k-th differences of a smooth f at close points vanish, and those of noise do not (Moré and Wild, 2011). They
    give the same deviation for each k where they are noise.
    """
    found = [0.0]
    for step in (1e-3, 1e-5):
        values = [f(k * step) for k in range(-4, 5)]
        orders = [np.diff(values, k) / math.sqrt(math.comb(2 * k, k)) for k in (4, 5, 6)]
        deviations = [norm(d) / math.sqrt(d.size) for d in orders]
        if max(deviations) <= 4 * min(deviations):
            found.append(max(deviations))
    return max(found)


def size_of_jump(f: Callable[[float], float], reach: float, eps: float = EPS) -> float:
    """Return how far f jumps within `reach` of 0, as the result of a solver does where it takes one step more, or 0.

    Where the sixth differences are largest, intervals are halved: a jump stays as large as it was, a slope does not.
    """
    points, largest = np.linspace(-reach, reach, 129), 0.0
    try:
        values = [f(float(t)) for t in points]
        if not np.isfinite(values).all():
            return 0.0
        steepest, at = np.abs(np.diff(values)).max() / (points[1] - points[0]), int(np.argmax(abs(np.diff(values, 6))))
        for i in range(at, at + 6):
            ends = [(float(points[k]), values[k]) for k in (i, i + 1)]
            for _ in range(30):
                middle = (ends[0][0] + ends[1][0]) / 2
                half = middle, f(middle)
                ends = max([ends[0], half], [half, ends[1]], key=lambda h: abs(h[1][1] - h[0][1]))
            (low, before), (high, after) = ends
            if abs(after - before) > 100 * (eps * max(abs(before), abs(after)) + steepest * (high - low)):
                largest = max(largest, abs(after - before))
    except (ArithmeticError, ValueError):  # outside the domain
        pass
    return largest


def has_kink(f: Callable[[float], float], slope: float, eps: float = EPS) -> bool:
    """Return whether the slopes on both sides of 0 differ: (f(h) - 2 f(0) + f(-h)) / h does not fall with h then."""
    step = max(1e-4, eps ** (1 / 3))
    wide, narrow = (abs(f(h) - 2 * f(0.0) + f(-h)) / h for h in (step, step / 2))
    return narrow > 1e-3 * slope and narrow > 0.9 * wide


def extrapolated_slope(f: Callable[[float], float], eps: float = EPS, noise: float = 0.0) -> tuple[float, float]:
    """Return f'(0) and an estimate of its error, for an f that is computed with this eps and has this noise."""
    best, smallest = np.nan, np.inf
    for h in STARTS:
        slope, error = _ridders(f, h, eps, noise)
        if error < smallest:
            best, smallest = slope, error
        if smallest <= max(1e-8, 100 * eps) * abs(best):
            break
    return best, smallest


def _ridders(f: Callable[[float], float], h: float, eps: float, noise: float) -> tuple[float, float]:
    """Extrapolate central differences to a step of 0 (Ridders, 1982); rounding and noise of f add to the error."""
    ratio, table = 1.4, list[list[float]]()
    best, smallest = np.nan, np.inf
    for row in range(10):
        after, before = f(h), f(-h)
        rounding = max(eps * max(abs(after), abs(before)), 3 * noise) / h
        table.append([(after - before) / (2 * h)])
        for k in range(1, row + 1):
            factor = ratio ** (2 * k)
            table[row].append((factor * table[row][k - 1] - table[row - 1][k - 1]) / (factor - 1))
            error = max(abs(table[row][k] - table[row][k - 1]), abs(table[row][k] - table[row - 1][k - 1])) + rounding
            if error <= smallest:
                best, smallest = table[row][k], error
        if row and abs(table[row][row] - table[row - 1][row - 1]) >= 2 * smallest:
            break
        h /= ratio
    return best, smallest
