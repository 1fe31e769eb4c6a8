"""The check of lines by central differences, for a cost or a rule's function that autodiff cannot take.

Such a cost is in NumPy, or has a while_loop in it. Such a function is a callback, a kernel, or has a rule in a loop.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from manual_bp.checker._line_by_differences import judge_by_differences
from manual_bp.checker._report import Report
from manual_bp.checker._report_line import Line
from manual_bp.checker.graph.arguments import flatten_arguments, is_float
from manual_bp.checker.graph.nodes import call_with_tap
from manual_bp.checker.judge.cut_graph import Arrays
from manual_bp.checker.judge.reconsider import NOT_THE_SAME
from manual_bp.checker.judge.returned_lines import OWN_ORDER, ReturnedLines, call_backward
from manual_bp.checker.judge.second_order import without_second_order

ONLY_ARGUMENTS = "central differences judge only the lines of parameters and arguments"


def report_by_differences(
    cost: Callable,
    backward: Callable,
    params: Any,
    args: tuple,
    tolerance: float | None,
    order: int,
    reason: str,
    traceable: bool,
) -> Report:
    """Compare the lines of the parameters and arguments with central differences along random directions."""
    arguments = flatten_arguments(cost, params, args).cast(np.float64)
    floats = [n for n, a in zip(arguments.names, arguments.arrays, strict=True) if is_float(a)]
    taps: dict[str, None] = {}

    def of_arrays(arrays: list) -> Any:
        def tap(name: str, value: Any) -> Any:
            taps[name] = None
            return value

        return call_with_tap(cost, arguments.rebuild(arrays), tap)

    evaluate = jax.jit(of_arrays) if traceable else of_arrays

    def cost_at(arrays: list) -> float:
        value = evaluate(arrays)
        if np.shape(value):
            raise ValueError(f"cost must return one number; it returned an array of shape {np.shape(value)}")
        return float(value)

    here = cost_at(arguments.copied_arrays())

    def call() -> ReturnedLines:
        return call_backward(backward, arguments.copies(), list(dict.fromkeys([*arguments.params, *floats, *taps])))

    returned = call()

    def judged(found: dict[str, np.ndarray]) -> list[Line]:
        lines = {n: found[n] for n in floats if n in found}
        return judge_by_differences(arguments, cost_at, lines, tolerance, reason=reason)

    lines, conventions = judged(returned.found), []
    if returned.in_own_order and any(line.verdict == "wrong" for line in lines):
        other = judged(returned.in_own_order)
        if all(line.verdict != "wrong" for line in other):
            lines, conventions = other, [OWN_ORDER]
    if lines and all(line.verdict == "right" for line in lines) and not conventions:
        lines = _kept_between_calls(lines, returned.found, call().found, judged)
    lines = without_second_order(lines) if order == 2 else lines
    lines += [Line("d" + n, "cannot tell", diagnosis=ONLY_ARGUMENTS) for n in taps if n in returned.found]
    verdict, mistake = ("wrong", "raised") if returned.raised else ("cannot tell", None)
    lines += [Line(name, verdict, None, None, mistake, fault) for name, fault in returned.faults.items()]
    missing = ", ".join("d" + n for n in arguments.params if n not in returned.found)
    notes = [f"judged by central differences, because autodiff of the cost is not possible: {reason}"]
    notes += [f"not returned, so not judged: {missing}"] * bool(missing)
    return Report(tuple(lines), tuple(conventions), tuple(notes), "float64", here, "central differences")


def _kept_between_calls(lines: list[Line], found: Arrays, again: Arrays, judged: Callable) -> list[Line]:
    """Withdraw "right" from lines that are wrong when the pass is called once more."""
    changed = {n: again[n] for n in found if n in again and not np.array_equal(found[n], again[n], equal_nan=True)}
    lost = {line.line for line in judged(changed) if line.verdict == "wrong"}
    return [x._replace(verdict="cannot tell", diagnosis=NOT_THE_SAME) if x.line in lost else x for x in lines]
