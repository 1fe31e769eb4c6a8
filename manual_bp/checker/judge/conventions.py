"""Conventions that are not mistakes: where 1/m is taken, examples in rows, W stored transposed.

They are inferred first and divided out. The lines are then judged in the layout and the scale of the cost.
"""

from collections.abc import Sequence

import numpy as np
from jax.extend import core

from manual_bp.checker.graph.arguments import is_float
from manual_bp.checker.graph.cost_graph import CostGraph
from manual_bp.checker.judge.cut_graph import Arrays, CutGraph
from manual_bp.checker.judge.norms import norm, projection


def number_of_examples(graph: CostGraph, arrays: Sequence) -> int:
    """Return m, the size that appears in the shape of every node and argument, or 1 if there is none."""
    used = [i for i, name in enumerate(graph.inputs) if name not in graph.params]
    shapes = [n.shape for n in graph.nodes.values()] + [np.shape(arrays[i]) for i in used]
    m = _common_size([s for s in shapes if s])
    # a vector may hold something else, such as class weights or a key
    return _common_size([s for s in shapes if len(s) > 1]) if m == 1 else m


def _common_size(shapes: Sequence[tuple[int, ...]]) -> int:
    common = set.intersection(*map(set, shapes)) if shapes else set()
    last, first = ({s[k] for s in shapes if len(s) > 1} for k in (-1, 0))
    for same in (last, first):
        if len(same) == 1 and same <= common:
            return same.pop()
    return max(common, default=1)


def transposed_lines(graph: CostGraph, found: Arrays, expected: Arrays) -> set[str]:
    """Return the lines that are transposed by convention: a whole group (deltas, weights, biases), never a single line.

    A delta is a line dZ or dA. A shape shows the convention, or the values of at least two square lines do.
    """
    groups: dict[str, list[str]] = {"deltas": [], "weights": [], "biases": []}
    for name, line in found.items():
        if line.ndim == 2 and expected[name].ndim == 2:
            kind = "deltas" if name in graph.nodes else "weights" if min(expected[name].shape) > 1 else "biases"
            groups[kind].append(name)
    votes = {g: _layout_votes(names, found, expected, square=False) for g, names in groups.items()}
    shown = sum(int(turned) for _, turned in votes.values())
    for group, names in groups.items():
        if not votes[group].any() or shown:
            votes[group] += _layout_votes(names, found, expected, square=True)
    total = sum(votes.values(), np.zeros(2, int))
    # one square line alone is more likely to be a mistake, as inv(A) for inv(A).T
    if not total[1] or (total[1] == 1 and not shown):
        return set()
    if total[1] == 1:
        # a mistake, or the only line with a telling shape: choose the layout that more lines fit
        everything = {n for names in groups.values() for n in names}
        as_stored = sum(constant_ratio(found[n], expected[n]) is not None for n in everything)
        transposed = sum(constant_ratio(found[n].T, expected[n]) is not None for n in everything)
        return everything if transposed > as_stored else set()
    chosen: set[str] = set()
    for group, names in groups.items():
        (as_stored, transposed), others = votes[group], total - votes[group]
        if transposed > as_stored or (transposed == as_stored and others[1] > others[0]):
            chosen.update(names)
    return chosen


def _layout_votes(names: Sequence[str], found: Arrays, expected: Arrays, square: bool) -> np.ndarray:
    """Count the lines that fit as stored and transposed: by shape or, if square, by values up to a constant."""
    votes = np.zeros(2, int)
    for line, true in ((found[n], expected[n]) for n in names):
        if square and line.shape == true.shape == true.shape[::-1]:
            straight, turned = (constant_ratio(a, true) is not None for a in (line, line.T))
            votes += [straight > turned, turned > straight]
        elif not square and true.shape != true.shape[::-1]:
            votes += [line.shape == true.shape, line.shape == true.shape[::-1]]
    return votes


def constant_ratio(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-6) -> float | None:
    """Return the nonzero c for which found = c expected, or None."""
    if found.shape != expected.shape or not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return None
    c = projection(found, expected)
    close = norm(found - c * expected) <= tolerance * norm(found)
    return c if c and close else None


def weights_left_out(graph: CostGraph, found: Arrays, expected: Arrays, m: int) -> np.ndarray | None:
    """Return the example weights w if every dZ and dA is the derivative of each example's own loss, without w.

    The gradients must be right, so that they contain w, and the weights must differ.
    """
    deltas = [(line, expected[n]) for n, line in found.items() if n in graph.nodes]
    gradients = [constant_ratio(line, expected[n]) for n, line in found.items() if n not in graph.nodes]
    if not deltas or not gradients or any(c is None or abs(c - 1) > 1e-6 for c in gradients):
        return None
    for axis, other in ((-1, 0), (0, 1)):
        if any(line.ndim != 2 or line.shape[axis] != m or m == 1 for line, _ in deltas):
            continue
        squares = sum(np.sum(line * line, axis=other, keepdims=True) for line, _ in deltas)
        w = sum(np.sum(line * true, axis=other, keepdims=True) for line, true in deltas) / np.where(squares, squares, 1)
        same = np.ptp(w) <= 1e-3 * np.max(np.abs(w))
        fits = all(norm(line * w - true) <= 1e-6 * norm(true) for line, true in deltas)
        if fits and not same:
            return w
    return None


def common_ratio(found: Arrays, expected: Arrays) -> float | None:
    """Return the positive constant, not 1, by which all these lines differ from the expected ones, or None."""
    constants = np.array([constant_ratio(found[name], expected[name]) for name in found], float)  # None becomes nan
    same = np.ptp(constants) <= 1e-6 * abs(constants[0])
    return float(constants[0]) if same and constants[0] > 0 and abs(constants[0] - 1) > 1e-6 else None


def possible_scales(
    graph: CostGraph, shaped: Arrays, expected: Arrays, right: set[str], m: int, arrays: Sequence
) -> list[float]:
    """Return the factors by which every dZ and dA may differ from the cost's derivative, dW and db making up for it."""
    deltas = {n: line for n, line in shaped.items() if n in graph.nodes}
    gradients = shaped.keys() - deltas.keys()
    if not deltas or right == shaped.keys():
        return [1.0]
    c = common_ratio(deltas, expected)
    if c and gradients and gradients <= right and (scale := known_scale(graph, c, m, arrays)):
        return [scale]
    return [1.0, float(m)] if m > 1 else [1.0]


def scale_by_gradients(graph: CostGraph, shaped: Arrays, cut: CutGraph, arrays: Sequence, m: int) -> list[float]:
    """Return the factor that at least two gradients take out of their deltas, such as the sum of the weights."""
    local = cut(arrays, {n: line for n, line in shaped.items() if n in graph.nodes}).lines
    found = [constant_ratio(line, local[n]) for n, line in shaped.items() if n in graph.roots]
    constants = [1 / c for c in found if c and c > 0 and abs(c - 1) > 1e-6]
    shared = [c for c in constants if sum(abs(c - other) <= 1e-6 * c for other in constants) >= 2][:1]
    return [scale for c in shared if (scale := known_scale(graph, c, m, arrays))]


def known_scale(graph: CostGraph, c: float, m: int, arrays: Sequence) -> float | None:
    """Return the number that an average divides by if c is one, perhaps times 2 or 1/2; another is a mistake.

    It is m or the sum of an argument, as of weights or a mask, perhaps times a size; or a number in the cost, or 1 over
    it.
    """
    pairs = zip(graph.inputs, arrays, strict=True)
    data = [a for n, a in pairs if n not in graph.params and (is_float(a) or a.dtype.kind in "biu")]
    sizes = {n for a in arrays for n in np.shape(a)} | {n for node in graph.nodes.values() for n in node.shape}
    averages = [m] if m > 1 else [*sizes]
    averages += [float(np.sum(np.asarray(a, np.float64))) for a in data]
    numbers = literals(graph.jaxpr.jaxpr) - {1.0, 2.0, 0.5}
    divisors = [*(a * size for a in averages for size in (1, *sizes)), *numbers, *(1 / n for n in numbers)]
    products = (a * b for a in divisors for b in (1.0, 2.0, 0.5))
    return next((float(value) for value in products if abs(c - value) <= 1e-6 * c), None)


def literals(jaxpr: core.Jaxpr) -> set[float]:
    """Return the numbers written in the cost, but for 0."""
    own = [operand.val for e in jaxpr.eqns for operand in e.invars if isinstance(operand, core.Literal)]
    found = {abs(float(v)) for v in own if np.ndim(v) == 0 and np.asarray(v).dtype.kind == "f"}
    inner = (literals(j) for e in jaxpr.eqns for j in core.jaxprs_in_params(e.params))
    return {n for n in found.union(*inner) if 0 < n < np.inf}
