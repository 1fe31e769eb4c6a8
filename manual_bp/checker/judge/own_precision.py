"""The precision in which a backward pass computes a line, measured by small moves of its arguments."""

from collections.abc import Callable

import numpy as np

from manual_bp.checker.graph.arguments import is_float
from manual_bp.checker.judge.cut_graph import Arrays
from manual_bp.checker.judge.norms import norm
from manual_bp.checker.judge.returned_lines import call_backward
from manual_bp.checker.judge.rounding import moved_by
from manual_bp.checker.judge.traced_cost import TracedCost
from manual_bp.checker.judge.verdicts import Judgement

FLOAT32 = float(np.finfo(np.float32).eps)
SMALL = 1e-3  # an error above which rounding in float32 is not asked for


def lines_in_float32(traced: TracedCost, backward: Callable, found: Arrays, judgement: Judgement) -> dict[str, float]:
    """Return float32's eps for each wrong line in float64 that a pass with float32 inside has computed.

    Under a relative change of 1e-7, a line in float64 moves along a straight line up to 1e-14, and one in float32 by
    steps of 1e-7.
    """
    errors = {n: (judgement.global_errors[n], judgement.local_errors[n]) for n in judgement.with_verdict("wrong")}
    doubted = [n for n, of_line in errors.items() if any(e is not None and e <= SMALL for e in of_line)]
    doubted = [n for n in doubted if found[n].dtype == np.float64 and np.isfinite(found[n]).all() and found[n].any()]
    if not doubted or traced.eps > 1e-10:
        return {}
    rng, steps = np.random.default_rng(0), dict.fromkeys(doubted, np.inf)
    for _ in range(2):
        signs = [rng.choice([-1e-7, 1e-7], np.shape(a)) for a in traced.arguments.arrays]
        after, before = (_lines_at(traced, backward, [times * s for s in signs]) for times in (1, -1))
        for n in doubted:
            if any(n not in lines or lines[n].shape != found[n].shape for lines in (after, before)):
                return {}
            step = norm(after[n] + before[n] - 2 * found[n]) / norm(found[n])
            steps[n] = min(steps[n], float(step))
    return {n: FLOAT32 for n, step in steps.items() if 1e-9 < step < SMALL}


def _lines_at(traced: TracedCost, backward: Callable, changes: list) -> Arrays:
    arguments = traced.arguments.copied_arrays()
    moved = [
        moved_by(a, np.asarray(a, np.float64) * c) if is_float(a) else a
        for a, c in zip(arguments, changes, strict=True)
    ]
    return call_backward(backward, traced.arguments.rebuild(moved), traced.names()).found
