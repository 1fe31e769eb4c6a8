"""The verdict on every returned line: right, wrong, inherited or cannot tell."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from manual_bp.checker._report_line import Verdict
from manual_bp.checker.graph.cost_graph import CostGraph
from manual_bp.checker.graph.zero_derivatives import reaches_cost
from manual_bp.checker.judge import conventions
from manual_bp.checker.judge.cut_graph import Arrays
from manual_bp.checker.judge.error_bounds import COARSE, Bounds, find_bounds
from manual_bp.checker.judge.norms import is_underflow, norm, relative_error
from manual_bp.checker.judge.rounding import eps_of_values, rounding_bound
from manual_bp.checker.judge.traced_cost import TracedCost

TINY = 1e-10  # an error in float64 that is smaller than any mistake, as where the function is itself an approximation


NOT_FINITE = "autodiff's own derivative is not finite here"


class Judgement(NamedTuple):
    """The lines in the layout and the scale of the cost, with their errors and verdicts."""

    found: dict[str, np.ndarray]
    verdicts: dict[str, Verdict]
    reasons: dict[str, str]
    global_errors: dict[str, float | None]
    local_errors: dict[str, float | None]
    cost: float
    m: int
    scale: float
    weights: np.ndarray | None  # the example weights, if dZ and dA leave them out
    transposed: set[str]

    def with_verdict(self, *verdicts: str) -> list[str]:
        return [name for name, verdict in self.verdicts.items() if verdict in verdicts]

    def well_shaped(self) -> dict[str, np.ndarray]:
        return {name: line for name, line in self.found.items() if self.local_errors[name] is not None}


class _Trial(NamedTuple):
    """The errors with deltas at one scale; the lines that agree with autodiff, and that follow from the user's own."""

    global_errors: dict[str, float]
    local_errors: dict[str, float]
    right: set[str]
    follows: set[str]

    def badness(self) -> tuple[int, int]:
        lines = self.global_errors.keys()
        return len(lines - self.right - self.follows), len(lines - self.right)


def judge_lines(
    traced: TracedCost,
    arrays: Sequence,
    returned: Arrays,
    tolerance: float | None,
    layouts: bool,
    own_eps: Mapping[str, float],
) -> Judgement:
    """Judge each line against autodiff, and against the line that follows from the user's own lines upstream.

    A line that agrees with autodiff is right. One that does not, but follows from the lines upstream, is inherited.
    `own_eps` has the eps of lines whose dtype does not show it. With `layouts`, lines may be transposed by convention.
    A pytree like params is subtracted from params, so may not.
    """
    graph = traced.graph
    order = [name for name in graph.backward_order() if name in returned]
    cut = traced.cut_for(order)
    truth = cut(arrays)
    expected, m = {n: truth.lines[n] for n in order}, conventions.number_of_examples(graph, arrays)
    transposed = conventions.transposed_lines(graph, returned, expected) if layouts else set()
    found = {n: np.asarray(returned[n].T if n in transposed else returned[n], np.float64) for n in order}
    shaped = {n: line for n, line in found.items() if line.shape == expected[n].shape}
    errors = {n: relative_error(line, expected[n]) for n, line in shaped.items()}
    off = any(error > 1e-3 for n, error in errors.items() if n in graph.nodes)
    weights = conventions.weights_left_out(graph, shaped, expected, m) if off else None
    if weights is not None:
        found |= {n: line * weights for n, line in shaped.items() if n in graph.nodes}
        shaped = {n: found[n] for n in shaped}
        errors = {n: relative_error(line, expected[n]) for n, line in shaped.items()}
    own = eps_of_values(returned)
    eps = {n: max(traced.eps, float(jnp.finfo(returned[n].dtype).eps), own[n]) for n in order}
    eps |= own_eps
    relative = {n: tolerance or min(rounding_bound(graph, n, eps[n]), COARSE) for n in order}
    bounds = find_bounds(cut, arrays, traced.eps, expected, relative, shaped, eps)

    def at_scale(lines: Arrays, scale: float) -> dict[str, np.ndarray]:
        return {n: line / scale if scale != 1 and n in graph.nodes else line for n, line in lines.items()}

    def tried(scale: float) -> _Trial:
        lines = at_scale(shaped, scale)
        local = cut(arrays, {n: line for n, line in lines.items() if n in graph.nodes}).lines
        for n in lines.keys() - graph.nodes.keys() - set(graph.params) if scale != 1 else ():
            # authors give dX the scale of the deltas or that of the gradients
            lines[n] = min(lines[n], lines[n] / scale, key=lambda line, true=local[n]: relative_error(line, true))
        against = errors | {n: relative_error(lines[n], expected[n]) for n in lines if scale != 1}
        follow = {n: relative_error(line, local[n]) for n, line in lines.items()}
        right = {n for n in lines if bounds.allow(n, lines[n], expected[n], against[n])}
        shares = {n: _relative_size(local[n], expected[n]) if bounds.absolute[n] else 1.0 for n in lines}
        follows = {n for n in lines if bounds.allow(n, lines[n], local[n], follow[n], shares[n])}
        return _Trial(against, follow, right, follows)

    agree = {n for n in shaped if bounds.allow(n, shaped[n], expected[n], errors[n])}
    scales = conventions.possible_scales(graph, shaped, expected, agree, m, arrays)
    if len(scales) > 1 and not agree & graph.nodes.keys():
        scales += conventions.scale_by_gradients(graph, shaped, cut, arrays, m)
    trials = {scale: tried(scale) for scale in scales}
    scale = min(trials, key=lambda s: trials[s].badness())
    trial = trials[scale]
    tiny = 0.0 if tolerance or traced.eps > 1e-10 else TINY
    judged = {n: _verdict(graph, n, trial, bounds, expected[n], tiny) for n in order}
    lost = "autodiff's derivative is 0 or nearly so, and the line is so small that both may be left by an underflow"
    at_last = at_scale(shaped, scale)
    small = [n for n in shaped if judged[n][0] == "wrong" and is_underflow(at_last[n], expected[n], traced.eps)]
    judged |= {n: ("cannot tell", lost) for n in small}
    # nothing can be computed from a line of another shape: those below it are taken to follow from it
    below = set[str]().union(*(graph.descendants(n) for n in graph.nodes if n in order and n not in shaped))
    judged |= {n: ("inherited", "") for n in below & judged.keys() if judged[n][0] == "wrong"}
    return Judgement(
        found=at_scale(found, scale),
        verdicts={n: verdict for n, (verdict, _) in judged.items()},
        reasons={n: reason for n, (_, reason) in judged.items() if reason},
        global_errors={n: trial.global_errors.get(n) for n in order},
        local_errors={n: trial.local_errors.get(n) for n in order},
        cost=truth.cost,
        m=m,
        scale=scale,
        weights=weights,
        transposed=transposed,
    )


def _verdict(
    graph: CostGraph, name: str, trial: _Trial, bounds: Bounds, expected: np.ndarray, tiny: float
) -> tuple[Verdict, str]:
    if not reaches_cost(graph, name) and trial.global_errors.get(name) == 0:
        return "right", ""  # the cost does not depend on it
    if not np.isfinite(expected).all():
        return "cannot tell", NOT_FINITE
    if name not in trial.right and (error := trial.global_errors.get(name, np.inf)) <= tiny:
        why = "more than rounding explains and less than a mistake: is one of the two functions an approximation?"
        return "cannot tell", f"it differs from autodiff by {error:.0e} of its norm, {why}"
    if name not in trial.right:
        return "inherited" if name in trial.follows else "wrong", ""
    if name in bounds.zero:
        return "cannot tell", "the derivative is zero up to rounding, and most mistakes would leave it zero"
    error, share = trial.global_errors[name], bounds.absolute[name] / norm(expected)
    if error > bounds.relative[name] and share > COARSE:
        return "cannot tell", f"below the resolution: rounding alone can change the line by {share:.0e} of its norm"
    if error > COARSE:
        why = f"rounding in its dtype can change the line by {bounds.relative[name]:.0e} of its norm"
        return "cannot tell", f"below the resolution: {why}"
    return "right", ""


def _relative_size(line: np.ndarray, expected: np.ndarray) -> float:
    """Return the norm of a local expectation over that of autodiff's line, by which its absolute bound is scaled."""
    size = norm(expected)
    return float(norm(line) / size) if size and np.isfinite(line).all() else 1.0
