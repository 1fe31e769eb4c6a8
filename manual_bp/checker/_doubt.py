"""Reasons not to believe that a line is wrong: functions that are not deterministic, and units at a kink."""

from collections.abc import Callable, Sequence

import numpy as np

from manual_bp.checker._judge import Judged, judge
from manual_bp.checker._prepare import Prepared
from manual_bp.checker._resolution import moved_off_kinks, relative
from manual_bp.checker._returned import call


def reconsider(
    prepared: Prepared,
    backward: Callable,
    found: dict[str, np.ndarray],
    judged: Judged,
    tolerance: float | None,
    layouts: bool,
) -> tuple[Sequence, Judged]:
    """The judgement with the lines taken out about which nothing can be told, and where it was made."""
    arrays = prepared.inputs.arrays
    doubted = judged.with_verdict("wrong", "inherited")
    reasons = _not_deterministic(prepared, backward, found, doubted, judged.cost)
    kinks = 0 if reasons else int(prepared.kinks(prepared.eps, arrays))
    if kinks:
        moved = moved_off_kinks(prepared.graph, arrays)
        again = call(backward, prepared.inputs._replace(arrays=moved).copies(), prepared.names()).found
        if found.keys() <= again.keys():
            elsewhere = judge(prepared, moved, {n: again[n] for n in found}, tolerance, layouts)
            unclear = {n: judged.reasons[n] for n in judged.with_verdict("cannot tell")}
            reasons = unclear | _at_a_kink(prepared, kinks, judged, elsewhere)
            # what is wrong is looked at where no unit is at a kink
            errors = {"global_errors": judged.global_errors, "local_errors": judged.local_errors}
            arrays, judged = moved, elsewhere._replace(cost=judged.cost, **errors)
    verdicts = judged.verdicts | dict.fromkeys(reasons, "cannot tell")
    return arrays, judged._replace(verdicts=verdicts, reasons=judged.reasons | reasons)


def _not_deterministic(
    prepared: Prepared, backward: Callable, found: dict[str, np.ndarray], doubted: list[str], cost: float
) -> dict[str, str]:
    """Both functions once more: a difference between two runs is neither right nor wrong."""
    again = prepared.cost_again()
    if np.isfinite(cost) and not abs(again - cost) <= 1e4 * prepared.eps * abs(cost):
        return dict.fromkeys(doubted, f"the cost is not deterministic: two evaluations gave {cost:.6g} and {again:.6g}")
    second = call(backward, prepared.inputs.copies(), prepared.names()).found
    reasons = {}
    for n in doubted:
        if n in second and second[n].shape == found[n].shape and np.isfinite(found[n]).all():
            error = relative(second[n], found[n])
            if error > 1e-12:
                reasons[n] = f"backward is not deterministic: two runs of it differ by {error:.0e} in this line"
    return reasons


def _at_a_kink(prepared: Prepared, kinks: int, judged: Judged, elsewhere: Judged) -> dict[str, str]:
    units = f"{kinks} unit{' is' if kinks == 1 else 's are'}"
    doubted = judged.with_verdict("wrong", "inherited")
    reason = (
        f"{units} at a kink, where two correct passes may differ; with the parameters moved by a thousandth, off it, "
        "the line is right"
    )
    reasons = {n: reason for n in doubted if elsewhere.verdicts[n] == "right"}
    if prepared.eps > 1e-10:
        share = 4 * np.sqrt(kinks / max(1, sum(int(np.prod(node.shape)) for node in prepared.graph.nodes.values())))
        reason = f"{units} within rounding of a kink, which may make a difference of this size"
        reasons |= {n: reason for n in doubted if (judged.global_errors[n] or 0) <= share}
    return reasons
