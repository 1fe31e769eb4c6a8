"""The second points of a right pass: equal values, and units exactly at a kink, hide mistakes.

Equal values are a weight of ones, say, or the same array twice. Huber's loss has a kink where a residual is 1.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from manual_bp.checker._one_pass import call_on, report_on
from manual_bp.checker._report import Report
from manual_bp.checker.graph.jaxpr_walk import primitives_inside
from manual_bp.checker.judge.returned_lines import ReturnedLines
from manual_bp.checker.judge.rounding import KINKED, REDUCED, moved_off_kinks
from manual_bp.checker.judge.traced_cost import TracedCost

EQUAL = "equal values hide"


def judge_elsewhere(
    traced: TracedCost, report: Report, returned: ReturnedLines, backward: Callable, tolerance: float | None
) -> Report:
    """Withdraw "right" from a pass that is wrong where parameters, or arguments, are moved.

    Those with equal values are moved, and then all, off the kinks. A pass that returns the same lines for any
    arguments, because they were computed before, is not doubted. A pass that is wrong only where an argument is moved
    may be meant for such data, so that one cannot tell.
    """
    if report.verdict != "right":
        return report
    moved, names = traced.arguments.constants_moved()
    of_params = [n for n in names if n in moved.params]
    triples = zip(moved.names, moved.arrays, traced.arguments.arrays, strict=True)
    only_params = [a if n in of_params else b for n, a, b in triples]
    tried = [(of_params, only_params, EQUAL)] * bool(of_params) + [(names, moved.arrays, EQUAL)] * (names != of_params)
    params, data = [*traced.graph.params], [n for n in traced.graph.roots if n in returned.found]
    tried += points_off_kinks(traced, params, [*dict.fromkeys(params + data)])

    def call_at(arrays: list) -> tuple[TracedCost, tuple[ReturnedLines, list], bool]:
        elsewhere = traced._replace(arguments=moved._replace(arrays=arrays))
        again = call_on(elsewhere, backward)
        found, lines = again[0].found, returned.found.items()
        return elsewhere, again, all(np.array_equal(found.get(n, line), line) for n, line in lines)

    for which, arrays, why in tried:
        elsewhere, again, same = call_at(arrays)
        # it may only lack what is moved, as r = a lacks y in r = a - y
        if again[0].raised or (same and call_at(moved_off_kinks(traced.graph, arrays, traced.graph.roots))[2]):
            continue
        second = report_on(elsewhere, backward, again, tolerance)
        if second.verdict == "wrong" and (why is EQUAL or count_units(traced, which)):
            return withdrawn(report, second, which, why, certain=set(which) <= set(params))
    return report


def points_off_kinks(traced: TracedCost, *choices: list[str]) -> Iterator[tuple[list[str], list, str]]:
    """Yield each different choice of names, and the arrays with these moved off the kinks, if there can be any.

    They are moved in both directions, because a mistake can be on one side of a kink only.
    """
    if (KINKED | REDUCED) & primitives_inside(traced.graph.jaxpr.jaxpr):
        for i, names in enumerate(choices):
            for size in (1e-3, -1e-3) if names and names not in choices[:i] else ():
                moved = moved_off_kinks(traced.graph, traced.arguments.arrays, names, size)
                yield names, moved, "units at a kink hide"


def count_units(traced: TracedCost, names: Sequence[str]) -> int:
    return int(traced.count_kinks(traced.eps, traced.arguments.arrays, tuple(names)))


def withdrawn(report: Report, second: Report, names: Sequence[str], why: str, certain: bool) -> Report:
    """Return the report on the second point if that is certain, else the first with its wrong lines in doubt."""
    moved = f"wrong where {', '.join(names)} {'is' if len(names) == 1 else 'are'} moved"
    if certain:
        note = f"right for the arguments given; {moved}, because {why} mistakes"
        return dataclasses.replace(second, notes=(note, *second.notes))
    wrong = {line.line for line in second.lines if line.verdict in ("wrong", "inherited")}
    doubted = f"right for the arguments given, {moved}: {why} a mistake, or it is meant for them only"
    lines = (x._replace(verdict="cannot tell", diagnosis=doubted) if x.line in wrong else x for x in report.lines)
    return dataclasses.replace(report, lines=tuple(lines))
