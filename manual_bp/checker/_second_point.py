"""The second points of a right pass: equal values, values that fit each other, and units at a kink hide mistakes.

Equal values are a weight of ones, say, or the same array twice. W2 = W1.T fits W1, and a scale the norm of its rows.
Huber's loss has a kink where a residual is 1.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from manual_bp.checker._one_pass import call_on, report_on
from manual_bp.checker._report import Report
from manual_bp.checker.graph.arguments import Arguments, is_float
from manual_bp.checker.graph.jaxpr_walk import primitives_inside
from manual_bp.checker.judge.kinks import KINKED, REDUCED, moved_off_kinks
from manual_bp.checker.judge.returned_lines import ReturnedLines
from manual_bp.checker.judge.traced_cost import TracedCost

EQUAL, FITTING, AT_KINKS = "equal values hide", "values that fit each other hide", "units at a kink hide"


class Point(NamedTuple):
    """The arrays with those of these names moved. A pass that is wrong there is wrong, if that is `certain`."""

    names: list[str]
    arrays: list
    why: str
    certain: bool


def judge_elsewhere(
    traced: TracedCost, report: Report, returned: ReturnedLines, backward: Callable, tolerance: float | None
) -> Report:
    """Withdraw "right" from a pass that is wrong where parameters, or arguments, are moved.

    Those with equal values are moved, then all off the kinks, and then all parameters by more. A pass that returns the
    same lines for any arguments, because they were computed before, is not doubted. A pass that is wrong only where an
    argument is moved may be meant for such data, so that one cannot tell. So may one for parameters of a kind, such as
    a distribution. A pass that keeps its own parameters, or the activations of its forward pass, is right for those.
    """
    if report.verdict != "right":
        return report
    roots, arguments = traced.graph.roots, traced.arguments

    def lines_at(arrays: Sequence) -> tuple[TracedCost, tuple[ReturnedLines, list], bool]:
        elsewhere = traced._replace(arguments=arguments._replace(arrays=[*arrays]))
        again = call_on(elsewhere, backward)
        found, lines = again[0].found, returned.found.items()
        return elsewhere, again, all(np.array_equal(found.get(n, line), line) for n, line in lines)

    def keeps_a_forward_pass() -> bool:
        """Return whether the lines remain where data is moved on which the true ones depend."""
        cut = traced.cut_for(returned.found)
        true = cut(arguments.arrays).lines
        for i, name in enumerate(arguments.names):
            arrays = [*arguments.arrays]
            if name in arguments.params or (other := _other_values(arguments, name)) is None:
                continue
            arrays[i] = other
            if lines_at(arrays)[2] and any(not np.allclose(a, true[n]) for n, a in cut(arrays).lines.items()):
                return True
        return False

    for point in _points(traced, returned):
        elsewhere, again, same = lines_at(point.arrays)
        # it may only lack what is moved, as r = a lacks y in r = a - y; but a network may keep its own parameters
        if again[0].raised or (
            same and (point.why is FITTING or lines_at(moved_off_kinks(traced.graph, point.arrays, roots))[2])
        ):
            continue
        second = report_on(elsewhere, backward, again, tolerance)
        if second.verdict == "wrong" and (point.why is not AT_KINKS or count_units(traced, point.names)):
            if point.why is FITTING and keeps_a_forward_pass():
                continue
            return withdrawn(report, second, point)
    return report


def _points(traced: TracedCost, returned: ReturnedLines) -> Iterator[Point]:
    arguments, params = traced.arguments, [*traced.graph.params]
    moved, names = arguments.constants_moved()
    of_params = [n for n in names if n in moved.params]
    triples = zip(moved.names, moved.arrays, arguments.arrays, strict=True)
    constants = moved._replace(arrays=[a if n in of_params else b for n, a, b in triples])
    if of_params:
        yield Point(of_params, constants.arrays, EQUAL, certain=True)
    if names != of_params:
        yield Point(names, moved.arrays, EQUAL, certain=False)
    data = [n for n in traced.graph.roots if n in returned.found]
    for which, arrays in points_off_kinks(traced, params, [*dict.fromkeys(params + data)]):
        yield Point(which, arrays, AT_KINKS, certain=set(which) <= set(params))
    of_no_kind = arguments.of_kind("any")
    free = [n for n in params if n in of_params or n in of_no_kind]
    for which in (free, params) if free != params else (params,):
        if which and which != of_params:
            others = [n for n in which if n not in of_params]
            yield Point(which, constants.moved(others).arrays, FITTING, certain=which == free)


def _other_values(arguments: Arguments, name: str) -> Any:
    """Return floats moved, integers in another order, or None for what is neither."""
    array = arguments.arrays[arguments.names.index(name)]
    if is_float(array):
        return arguments.moved([name]).arrays[arguments.names.index(name)]
    return np.roll(array, 1) if getattr(array.dtype, "kind", "") in "iu" else None


def points_off_kinks(traced: TracedCost, *choices: list[str]) -> Iterator[tuple[list[str], list]]:
    """Yield each different choice of names, and the arrays with these moved off the kinks, if there can be any.

    They are moved in both directions, because a mistake can be on one side of a kink only.
    """
    if (KINKED | REDUCED) & primitives_inside(traced.graph.jaxpr.jaxpr):
        for i, names in enumerate(choices):
            for size in (1e-3, -1e-3) if names and names not in choices[:i] else ():
                yield names, moved_off_kinks(traced.graph, traced.arguments.arrays, names, size)


def count_units(traced: TracedCost, names: Sequence[str]) -> int:
    return int(traced.count_kinks(traced.eps, traced.arguments.arrays, tuple(names)))


def withdrawn(report: Report, second: Report, point: Point) -> Report:
    """Return the report on the second point if that is certain, else the first with its wrong lines in doubt."""
    names, why = point.names, point.why
    moved = f"wrong where {', '.join(names)} {'is' if len(names) == 1 else 'are'} moved"
    if point.certain:
        note = f"right for the arguments given; {moved}, because {why} mistakes"
        return dataclasses.replace(second, notes=(note, *second.notes))
    wrong = {line.line for line in second.lines if line.verdict in ("wrong", "inherited")}
    doubted = f"right for the arguments given, {moved}: {why} a mistake, or it is meant for them only"
    lines = (x._replace(verdict="cannot tell", diagnosis=doubted) if x.line in wrong else x for x in report.lines)
    return dataclasses.replace(report, lines=tuple(lines))
