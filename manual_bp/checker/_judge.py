"""Right, wrong, inherited or cannot tell, for every line that was returned."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from manual_bp.checker._conventions import common_ratio, examples, ratio, transposed, weights_left_out
from manual_bp.checker._cut import Arrays, Cut
from manual_bp.checker._graph import Graph
from manual_bp.checker._prepare import Prepared
from manual_bp.checker._report import Verdict
from manual_bp.checker._resolution import bound, noise, relative

COARSE = 0.01  # where rounding is larger than this it can hide a mistake


class Judged(NamedTuple):
    """Every line in the cost's own layout and scale, with its errors and its verdict."""

    found: dict[str, np.ndarray]
    verdicts: dict[str, Verdict]
    reasons: dict[str, str]
    global_errors: dict[str, float | None]
    local_errors: dict[str, float | None]
    cost: float
    m: int
    scale: float
    weights: np.ndarray | None  # those that the deltas leave out, if they leave out any
    turned: set[str]

    def with_verdict(self, *verdicts: str) -> list[str]:
        return [name for name, verdict in self.verdicts.items() if verdict in verdicts]

    def well_shaped(self) -> dict[str, np.ndarray]:
        return {name: line for name, line in self.found.items() if self.local_errors[name] is not None}


class _Bounds(NamedTuple):
    """How far off a line may be: relatively, and in norm by what rounding does to it; and which lines are zero."""

    relative: dict[str, float]
    floor: dict[str, float]
    zero: set[str]

    def passes(self, name: str, line: np.ndarray, true: np.ndarray, error: float, share: float = 1.0) -> bool:
        return error <= self.relative[name] or _norm(line - true) <= share * self.floor[name]


class _Trial(NamedTuple):
    """The errors with deltas at a scale, and the lines that agree with autodiff or follow from the user's own."""

    global_errors: dict[str, float]
    local_errors: dict[str, float]
    right: set[str]
    follows: set[str]

    def badness(self) -> tuple[int, int]:
        lines = self.global_errors.keys()
        return len(lines - self.right - self.follows), len(lines - self.right)


def judge(
    prepared: Prepared, arrays: Sequence, returned: Arrays, tolerance: float | None, layouts: bool = True
) -> Judged:
    """Each line twice: against autodiff, and against what the user's own lines before it make of it.

    A line that agrees with autodiff is right. One that does not, but follows from the lines before it, is inherited.
    Lines may be transposed by convention only if `layouts` are: a pytree like params is there to be subtracted from it.
    """
    graph = prepared.graph
    order = [name for name in graph.backward_order() if name in returned]
    cut = prepared.cuts(tuple(n for n in order if n in graph.nodes), tuple(n for n in order if n in graph.roots))
    truth = cut(arrays)
    expected, m = truth.lines, examples(graph, arrays)
    turned = transposed(graph, returned, expected) if layouts else set()
    found = {n: np.asarray(returned[n].T if n in turned else returned[n], np.float64) for n in order}
    shaped = {n: line for n, line in found.items() if line.shape == expected[n].shape}
    errors = {n: relative(line, expected[n]) for n, line in shaped.items()}
    off = any(error > 1e-3 for n, error in errors.items() if n in graph.nodes)
    weights = weights_left_out(graph, shaped, expected, m) if off else None
    if weights is not None:
        found |= {n: line * weights for n, line in shaped.items() if n in graph.nodes}
        shaped = {n: found[n] for n in shaped}
        errors = {n: relative(line, expected[n]) for n, line in shaped.items()}
    limits = {n: tolerance or bound(graph, n, max(prepared.eps, _eps(returned[n]))) for n in order}
    bounds = _bounds(cut, arrays, prepared.eps, expected, limits, errors)

    def scaled(lines: Arrays, scale: float) -> dict[str, np.ndarray]:
        return {n: line / scale if scale != 1 and n in graph.nodes else line for n, line in lines.items()}

    def tried(scale: float) -> _Trial:
        lines = scaled(shaped, scale)
        local = cut(arrays, {n: line for n, line in lines.items() if n in graph.nodes}).lines
        for n in lines.keys() - graph.nodes.keys() - set(graph.params) if scale != 1 else ():
            # dX goes with the deltas or with the gradients: both are met with
            lines[n] = min(lines[n], lines[n] / scale, key=lambda line, true=local[n]: relative(line, true))
        against = errors | {n: relative(lines[n], expected[n]) for n in lines if scale != 1}
        follow = {n: relative(line, local[n]) for n, line in lines.items()}
        right = {n for n in lines if bounds.passes(n, lines[n], expected[n], against[n])}
        shares = {n: _share(local[n], expected[n]) if bounds.floor[n] else 1.0 for n in lines}
        follows = {n for n in lines if bounds.passes(n, lines[n], local[n], follow[n], shares[n])}
        return _Trial(against, follow, right, follows)

    agree = {n for n in shaped if bounds.passes(n, shaped[n], expected[n], errors[n])}
    scales = _scales(graph, shaped, expected, agree, m)
    if len(scales) > 1 and not agree & graph.nodes.keys():
        scales += _scale_of_parameters(graph, shaped, cut, arrays)
    trials = {scale: tried(scale) for scale in scales}
    scale = min(trials, key=lambda s: trials[s].badness())
    trial = trials[scale]
    judged = {n: _verdict(graph, n, trial, bounds, expected[n]) for n in order}
    return Judged(
        found=scaled(found, scale),
        verdicts={n: verdict for n, (verdict, _) in judged.items()},
        reasons={n: reason for n, (_, reason) in judged.items() if reason},
        global_errors={n: trial.global_errors.get(n) for n in order},
        local_errors={n: trial.local_errors.get(n) for n in order},
        cost=truth.cost,
        m=m,
        scale=scale,
        weights=weights,
        turned=turned,
    )


def _bounds(
    cut: Cut, arrays: Sequence, eps: float, expected: Arrays, limits: dict[str, float], errors: dict
) -> _Bounds:
    """What rounding does to a line is measured only where a line is zero, or off by more than its bound."""
    zero = {n for n in expected if not expected[n].any()}
    if not zero and all(n in errors and errors[n] <= limits[n] for n in limits):
        return _Bounds(limits, dict.fromkeys(limits, 0.0), zero)
    moves = noise(cut, arrays, eps)
    floor = {n: limits[n] * moves[n] for n in limits}
    # a line that is zero, or is left by terms that cancel, has no size of its own to be measured by
    whole = float(np.sqrt(sum(np.sum(e[np.isfinite(e)] ** 2) for e in expected.values())))
    zero = {n for n in limits if _norm(expected[n]) <= min(limits[n], 1e-3) * whole}
    return _Bounds(limits, floor | {n: max(floor[n], limits[n] * whole) for n in zero}, zero)


def _verdict(graph: Graph, name: str, trial: _Trial, bounds: _Bounds, expected: np.ndarray) -> tuple[Verdict, str]:
    if not graph.successors[name] and trial.global_errors.get(name) == 0:
        return "right", ""  # the cost does not depend on it at all
    if not np.isfinite(expected).all():
        return "cannot tell", "autodiff's own derivative is not finite here"
    if name not in trial.right:
        return "inherited" if name in trial.follows else "wrong", ""
    if name in bounds.zero:
        return "cannot tell", "the derivative is zero up to rounding: most mistakes in the line would leave it so"
    error, share = trial.global_errors[name], bounds.floor[name] / _norm(expected)
    if error > bounds.relative[name] and share > COARSE:
        return "cannot tell", f"below the resolution: rounding alone moves the line by {share:.0e} of its size"
    if error > COARSE:
        return (
            "cannot tell",
            f"below the resolution of its dtype, in which rounding may reach {bounds.relative[name]:.0e}",
        )
    return "right", ""


def _scales(graph: Graph, shaped: Arrays, expected: Arrays, right: set[str], m: int) -> list[float]:
    """The constants that dZ and dA may all be times the derivative of the cost, dW and db making up for it."""
    deltas = {n: line for n, line in shaped.items() if n in graph.nodes}
    gradients = shaped.keys() - deltas.keys()
    if not deltas or right == shaped.keys():
        return [1.0]
    c = common_ratio(deltas, expected)
    if c and gradients and gradients <= right:
        return [float(m) if abs(c - m) <= 1e-6 * m else c]
    return [1.0, float(m)] if m > 1 else [1.0]


def _scale_of_parameters(graph: Graph, shaped: Arrays, cut: Cut, arrays: Sequence) -> list[float]:
    """The factor by which at least two gradients make up for the scale of their deltas, as 1/sum of weights does."""
    local = cut(arrays, {n: line for n, line in shaped.items() if n in graph.nodes}).lines
    found = [ratio(line, local[n]) for n, line in shaped.items() if n in graph.roots]
    constants = [1 / c for c in found if c and c > 0 and abs(c - 1) > 1e-6]
    return [c for c in constants if sum(abs(c - other) <= 1e-6 * c for other in constants) >= 2][:1]


def _eps(line: np.ndarray) -> float:
    return float(jnp.finfo(line.dtype).eps)


def _norm(line: np.ndarray) -> float:
    return float(np.linalg.norm(line))


def _share(line: np.ndarray, expected: np.ndarray) -> float:
    """How large a local expectation is beside autodiff's line: its floor is as much larger."""
    size = _norm(expected)
    return _norm(line) / size if size and np.isfinite(line).all() else 1.0
