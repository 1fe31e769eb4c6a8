"""Reasons to withdraw a verdict: a line overwritten, a function that is not deterministic, and units at a kink."""

from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from manual_bp.checker.graph.arguments import is_float
from manual_bp.checker.graph.cost_graph import CostGraph
from manual_bp.checker.judge.cut_graph import Arrays
from manual_bp.checker.judge.kinks import moved_off_kinks
from manual_bp.checker.judge.norms import relative_error
from manual_bp.checker.judge.returned_lines import call_backward
from manual_bp.checker.judge.rounding import eps_of_values
from manual_bp.checker.judge.traced_cost import TracedCost
from manual_bp.checker.judge.verdicts import NOT_FINITE, Judgement

# parts of the arguments' size; bfloat16 rounds the smaller one away
MOVES = (1e-3, 0.03)
NOT_DETERMINISTIC = "backward is not deterministic, or keeps something from one call to the next"
NOT_THE_SAME = f"{NOT_DETERMINISTIC}: it is right in the first of two runs and wrong in the second"


def reconsider(
    traced: TracedCost, backward: Callable, found: Arrays, judgement: Judgement, judge: Callable
) -> tuple[Sequence, Judgement]:
    """Turn verdicts that do not hold into "cannot tell", and return the arrays at which the judgement was made.

    `judge` is judge_lines as a function of arrays and lines.
    """
    arrays = traced.arguments.arrays
    reasons = _not_deterministic(traced, backward, found, judgement)
    doubted = judgement.with_verdict("wrong", "inherited")
    # a line of an argument, such as dX, can be at a kink that the parameters do not reach
    data = tuple(n for n in doubted if n in traced.graph.roots and n not in traced.graph.params)
    kinks = 0 if reasons else int(traced.count_kinks(_coarsest(traced, found), arrays, data))
    for size in MOVES if kinks else ():
        moved = moved_off_kinks(traced.graph, arrays, (*traced.graph.params, *data), size)
        again = call_backward(backward, traced.arguments._replace(arrays=moved).copies(), traced.names()).found
        if not found.keys() <= again.keys():
            break
        elsewhere = judge(moved, {n: again[n] for n in found})
        if NOT_FINITE in elsewhere.reasons.values() and NOT_FINITE not in judgement.reasons.values():
            break  # moved out of the domain
        if size == MOVES[-1] or not elsewhere.with_verdict("wrong"):
            unclear = {n: judgement.reasons[n] for n in judgement.with_verdict("cannot tell")}
            reasons = unclear | _at_a_kink(kinks, judgement, elsewhere)
            # a mistake is looked for where no unit is at a kink
            errors = {"global_errors": judgement.global_errors, "local_errors": judgement.local_errors}
            arrays, judgement = moved, elsewhere._replace(cost=judgement.cost, **errors)
            break
    verdicts = judgement.verdicts | dict.fromkeys(reasons, "cannot tell")
    return arrays, judgement._replace(verdicts=verdicts, reasons=judgement.reasons | reasons)


def overwritten_lines(graph: CostGraph, memory: Mapping[str, int], judgement: Judgement) -> dict[str, str]:
    """Return each wrong line in whose array a right line was computed from it: dA1 after `dZ1 = dA1; dZ1[...] = 0`."""
    doubted, right = judgement.with_verdict("wrong", "inherited"), judgement.with_verdict("right")
    below = {n: graph.descendants(n) for n in doubted}
    return {
        n: other
        for n in doubted
        for other in right
        if other in below[n] and n in memory and memory[n] == memory.get(other)
    }


def _not_deterministic(traced: TracedCost, backward: Callable, found: Arrays, judgement: Judgement) -> dict[str, str]:
    """Run both functions once more. A line that differs between two runs is neither right nor wrong."""
    doubted, cost = judgement.with_verdict("wrong", "inherited"), judgement.cost
    again = traced.cost_again() if traced.may_differ() else cost
    if np.isfinite(cost) and not abs(again - cost) <= 1e4 * traced.eps * abs(cost):
        return dict.fromkeys(doubted, f"the cost is not deterministic: two evaluations gave {cost:.6g} and {again:.6g}")
    second = call_backward(backward, traced.arguments.copies(), traced.names()).found
    reasons = {}
    for n in doubted:
        if n in second and second[n].shape == found[n].shape and np.isfinite(found[n]).all():
            error = relative_error(second[n], found[n])
            if error > 1e-12:
                reasons[n] = f"{NOT_DETERMINISTIC}: this line differs by {error:.0e} between two runs"
    return reasons


def kept_between_calls(
    traced: TracedCost, backward: Callable, found: Arrays, judgement: Judgement, judge: Callable
) -> Judgement:
    """Withdraw "right" from lines that are wrong when the pass is called once more, such as sums that it never zeroes.

    A pass may raise then, because it has dropped what it kept of its forward pass.
    """
    again = call_backward(backward, traced.arguments.copies(), traced.names())
    if again.raised or not found.keys() <= again.found.keys():
        return judgement
    if all(np.array_equal(again.found[n], line, equal_nan=True) for n, line in found.items()):
        return judgement
    second = judge(traced.arguments.arrays, {n: again.found[n] for n in found})
    lost = [n for n in judgement.with_verdict("right") if second.verdicts[n] in ("wrong", "inherited")]
    reasons, verdicts = (dict.fromkeys(lost, value) for value in (NOT_THE_SAME, "cannot tell"))
    return judgement._replace(verdicts=judgement.verdicts | verdicts, reasons=judgement.reasons | reasons)


def _coarsest(traced: TracedCost, lines: Arrays) -> float:
    """Return the eps of the coarsest dtype in which the cost or one of the lines was computed."""
    own = (float(jnp.finfo(line.dtype).eps) for line in lines.values() if is_float(line))
    return max(traced.eps, *own, *eps_of_values(lines).values())


def _at_a_kink(kinks: int, judgement: Judgement, elsewhere: Judgement) -> dict[str, str]:
    units = f"{kinks} unit{' is' if kinks == 1 else 's are'}"
    doubted = judgement.with_verdict("wrong", "inherited")
    moved = "moved a little, off the kink, the line is right"
    reason = f"{units} at a kink, where two correct passes can differ; {moved}"
    return {n: reason for n in doubted if elsewhere.verdicts[n] == "right"}


def without_empty(traced: TracedCost, judgement: Judgement) -> Judgement:
    """Tell nothing of a line that is empty, or that is zero or not finite because a value with no elements feeds it."""
    graph, judged = traced.graph, judgement
    shapes = {n: np.shape(traced.arguments.arrays[i]) for n, i in graph.roots.items() if graph.successors[n]}
    empty = [n for n, shape in (shapes | {n: node.shape for n, node in graph.nodes.items()}).items() if 0 in shape]
    why = {n: "it is empty" for n, line in judged.found.items() if not line.size}
    for n, line in judged.found.items() if empty else ():
        if n not in why and not (line.any() and np.isfinite(line).all()):
            why[n] = f"{empty[0]} is empty"
    return judged._replace(verdicts=judged.verdicts | dict.fromkeys(why, "cannot tell"), reasons=judged.reasons | why)
