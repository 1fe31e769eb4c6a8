"""Conventions that are no mistakes: where 1/m is taken, rows for columns, W stored transposed.

They are inferred first and divided out; what is judged then are the lines in the cost's own layout and scale.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from manual_bp.checker._cut import Arrays
from manual_bp.checker._graph import Graph


def examples(graph: Graph, arrays: Sequence) -> int:
    """m: the size that every intermediate and every argument has in its shape, or 1 if there is none such."""
    used = [i for i, name in enumerate(graph.inputs) if name not in graph.params]
    shapes = [n.shape for n in graph.nodes.values()] + [np.shape(arrays[i]) for i in used]
    shapes = [s for s in shapes if s]
    common = set.intersection(*map(set, shapes)) if shapes else set()
    last, first = ({s[k] for s in shapes if len(s) > 1} for k in (-1, 0))
    for same in (last, first):
        if len(same) == 1 and same <= common:
            return same.pop()
    return max(common, default=1)


def transposed(graph: Graph, found: Arrays, expected: Arrays) -> set[str]:
    """The lines that are transposed by convention: a whole group of them (deltas, weights, biases), not one line."""
    groups: dict[str, list[str]] = {"deltas": [], "weights": [], "biases": []}
    for name, line in found.items():
        if line.ndim == 2 and expected[name].ndim == 2:
            kind = "deltas" if name in graph.nodes else "weights" if min(expected[name].shape) > 1 else "biases"
            groups[kind].append(name)
    votes = {g: _by_shape(names, found, expected) for g, names in groups.items()}
    for group, names in groups.items():
        if not votes[group].total() or any(v["transposed"] for v in votes.values()):
            votes[group] += _of_squares(names, found, expected)
    total = {side: sum(v[side] for v in votes.values()) for side in ("as stored", "transposed")}
    if not total["transposed"]:
        return set()
    if total["transposed"] == 1:
        # one line may be a mistake, or the one line whose shape tells: the layout in which more lines fit is it
        everything = {n for names in groups.values() for n in names}
        as_stored = sum(ratio(found[n], expected[n]) is not None for n in everything)
        return everything if sum(ratio(found[n].T, expected[n]) is not None for n in everything) > as_stored else set()
    chosen: set[str] = set()
    for group, names in groups.items():
        mine = votes[group]
        others = {side: total[side] - mine[side] for side in total}
        tie = mine["transposed"] == mine["as stored"] and others["transposed"] > others["as stored"]
        if mine["transposed"] > mine["as stored"] or tie:
            chosen.update(names)
    return chosen


def _by_shape(names: Sequence[str], found: Arrays, expected: Arrays) -> Counter:
    votes: Counter = Counter()
    for line, true in ((found[n], expected[n]) for n in names):
        if true.shape != true.shape[::-1]:
            votes["as stored"] += line.shape == true.shape
            votes["transposed"] += line.shape == true.shape[::-1]
    return votes


def _of_squares(names: Sequence[str], found: Arrays, expected: Arrays) -> Counter:
    """A square line by its values, if they are a multiple of what they should be."""
    votes: Counter = Counter()
    for line, true in ((found[n], expected[n]) for n in names):
        if line.shape == true.shape == true.shape[::-1]:
            straight, turned = (ratio(a, true) is not None for a in (line, line.T))
            votes["as stored"] += straight and not turned
            votes["transposed"] += turned and not straight
    return votes


def ratio(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-6) -> float | None:
    """c where found = c expected, c not 0; None where there is none."""
    if found.shape != expected.shape or not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return None
    size = float(np.vdot(expected, expected))
    c = float(np.vdot(expected, found)) / size if size else 0.0
    close = np.linalg.norm(found - c * expected) <= tolerance * np.linalg.norm(found)
    return c if c and close else None


def weights_left_out(graph: Graph, found: Arrays, expected: Arrays, m: int) -> np.ndarray | None:
    """w, if every dZ and dA is the derivative of each example's own loss: times w, not all equal, it is the cost's.

    The gradients have to be right, so that w is in them.
    """
    deltas = [(line, expected[n]) for n, line in found.items() if n in graph.nodes]
    gradients = [ratio(line, expected[n]) for n, line in found.items() if n not in graph.nodes]
    if not deltas or not gradients or any(c is None or abs(c - 1) > 1e-6 for c in gradients):
        return None
    for axis, other in ((-1, 0), (0, 1)):
        if any(line.ndim != 2 or line.shape[axis] != m or m == 1 for line, _ in deltas):
            continue
        squares = sum(np.sum(line * line, axis=other, keepdims=True) for line, _ in deltas)
        w = sum(np.sum(line * true, axis=other, keepdims=True) for line, true in deltas) / np.where(squares, squares, 1)
        same = np.ptp(w) <= 1e-3 * np.max(np.abs(w))
        fits = all(np.linalg.norm(line * w - true) <= 1e-6 * np.linalg.norm(true) for line, true in deltas)
        if fits and not same:
            return w
    return None


def common_ratio(found: Mapping[str, np.ndarray], expected: Arrays) -> float | None:
    """The positive constant, not 1, that every one of these lines is times its expectation."""
    ratios = [ratio(found[name], expected[name]) for name in found]
    if not ratios or any(r is None for r in ratios):
        return None
    constants = np.array(ratios, float)
    same = np.ptp(constants) <= 1e-6 * abs(constants[0])
    return float(constants[0]) if same and constants[0] > 0 and abs(constants[0] - 1) > 1e-6 else None


def layout_sentences(graph: Graph, turned: set[str]) -> list[str]:
    deltas, weights = (
        [n for n in turned if n in graph.nodes], [n for n in turned if n not in graph.nodes],
    )  # fmt: skip
    sentences = []
    if deltas:
        sentences.append(f"rows for columns: {_several(deltas)} as the transpose of the cost's own layout")
    if weights:
        sentences.append(f"weights stored transposed: {_several(weights)} as the transpose of the parameter")
    return sentences


def _several(names: Sequence[str]) -> str:
    return ", ".join("d" + n for n in sorted(names))
