"""The second point of a right pass: equal values, such as a weight of ones or the same array twice, hide mistakes."""

import dataclasses
from collections.abc import Callable

import numpy as np

from manual_bp.checker._one_pass import call_on, report_on
from manual_bp.checker._report import Report
from manual_bp.checker.judge.returned_lines import ReturnedLines
from manual_bp.checker.judge.traced_cost import TracedCost

SEED = 0x6D62705F


def judge_where_constants_move(
    traced: TracedCost, report: Report, returned: ReturnedLines, backward: Callable, tolerance: float | None
) -> Report:
    """Withdraw "right" from a pass that is wrong where parameters, or arguments, with equal values are moved.

    A pass that is given other parameters and returns the same lines, because they were computed before, is not doubted.
    A pass that is wrong only where an argument is moved may be meant for such data, so that one cannot tell.
    """
    if report.verdict != "right":
        return report
    moved, names = traced.arguments.constants_moved(np.random.default_rng(SEED))
    of_params = [n for n in names if n in moved.params]
    triples = zip(moved.names, moved.arrays, traced.arguments.arrays, strict=True)
    only_params = [a if n in of_params else b for n, a, b in triples]
    tried = [(of_params, only_params)] * bool(of_params) + [(names, moved.arrays)] * (names != of_params)
    for which, arrays in tried:
        elsewhere = traced._replace(arguments=moved._replace(arrays=arrays))
        again = call_on(elsewhere, backward)
        found = again[0].found
        if again[0].raised or all(np.array_equal(found.get(n, line), line) for n, line in returned.found.items()):
            continue
        second = report_on(elsewhere, backward, again, tolerance)
        if second.verdict == "wrong":
            why = f"wrong where {', '.join(which)} {'is' if len(which) == 1 else 'are'} moved"
            if which is of_params:
                note = f"right for the parameters given; {why}, because equal values hide mistakes"
                return dataclasses.replace(second, notes=(note, *second.notes))
            wrong = {line.line for line in second.lines if line.verdict in ("wrong", "inherited")}
            doubted = f"right for the arguments given, {why}: equal values hide a mistake, or it is meant for them only"
            lines = (
                x._replace(verdict="cannot tell", diagnosis=doubted) if x.line in wrong else x for x in report.lines
            )
            return dataclasses.replace(report, lines=tuple(lines))
    return report
