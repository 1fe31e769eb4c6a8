"""The report on one backward pass: its lines judged, the wrong ones diagnosed, and what else there is to say."""

import functools
from collections.abc import Callable, Iterator

import numpy as np

from manual_bp.checker._remarks import conventions_of, join_lines, notes_of
from manual_bp.checker._report import Report
from manual_bp.checker._report_line import Line
from manual_bp.checker.diagnose.blamed_lines import blame_lines
from manual_bp.checker.diagnose.corrected_code import corrected_line, correction
from manual_bp.checker.diagnose.evidence import UNKNOWN, Evidence, Finding
from manual_bp.checker.diagnose.layout_advice import with_layout_advice
from manual_bp.checker.graph.zero_derivatives import roots_behind_steps
from manual_bp.checker.judge.cut_graph import Arrays
from manual_bp.checker.judge.own_precision import lines_in_float32
from manual_bp.checker.judge.random_directions import compare_autodiff
from manual_bp.checker.judge.reconsider import kept_between_calls, overwritten_lines, reconsider, without_empty
from manual_bp.checker.judge.returned_lines import ReturnedLines, call_backward
from manual_bp.checker.judge.second_order import judge_second_order
from manual_bp.checker.judge.traced_cost import TracedCost
from manual_bp.checker.judge.verdicts import Judgement, judge_lines

STEPPED = (
    "the true derivative is 0: the function takes from {name} only what {steps} gives, which is constant between its "
    "steps. If the line differs on purpose, as a straight-through estimator does, compare it with the function whose "
    "gradient is meant (surrogate= in check_custom_vjp)"
)

FAILED = "the line is wrong, but the search for the mistake stopped at an error in the checker; please report it"


def check_options(tolerance: float | None, order: int) -> None:
    if tolerance is not None and not (isinstance(tolerance, int | float) and tolerance > 0):
        raise ValueError(f"tolerance must be a positive number, the largest relative error allowed; got {tolerance!r}")
    if order not in (1, 2):
        raise ValueError(f"order must be 1, or 2 to check second derivatives as well; got {order!r}")


def call_on(traced: TracedCost, backward: Callable) -> tuple[ReturnedLines, list]:
    """Return the lines of backward, and the arrays that it was given, as it left them."""
    arrays = traced.arguments.copied_arrays()
    return call_backward(backward, traced.arguments.rebuild(arrays), traced.names()), arrays


def report_on(
    traced: TracedCost,
    backward: Callable,
    call: tuple[ReturnedLines, list] | None = None,
    tolerance: float | None = None,
    order: int = 1,
    finite_differences: bool = False,
) -> Report:
    """Report on one backward pass, under the current precision settings of JAX."""
    graph, arrays = traced.graph, traced.arguments.arrays
    returned, after = call or call_on(traced, backward)
    found = {n: line for n, line in returned.found.items() if n in graph.nodes or n in graph.roots}
    returned = returned._replace(faults=returned.faults | _lines_of_integers(returned, found))
    if "backward" in returned.faults and not found:
        raise ValueError(returned.raised)
    if not found and not returned.faults:
        raise ValueError("backward returned no lines; expected a dict such as {'dW1': ...} or a pytree like params")
    layouts = not returned.like_params
    judge = functools.partial(judge_lines, traced, tolerance=tolerance, layouts=layouts, own_eps={})
    with np.errstate(all="ignore"):  # values that are not finite are judged, so need no warning
        judgement = judge(arrays, found)
    if overwritten := overwritten_lines(graph, returned.memory, judgement):
        found = {n: line for n, line in found.items() if n not in overwritten}
        judgement = judge(arrays, found)
    own_eps = {} if tolerance or returned.raised else lines_in_float32(traced, backward, found, judgement)
    if own_eps:
        judge = functools.partial(judge, own_eps=own_eps)
        judgement = judge(arrays, found)
    if judgement.with_verdict("wrong", "inherited") and not returned.raised:
        arrays, judgement = reconsider(traced, backward, found, judgement, judge)
    elif not returned.raised:
        judgement = kept_between_calls(traced, backward, found, judgement, judge)
    judgement = without_empty(traced, judgement)
    wrong, evidence, findings = judgement.with_verdict("wrong"), None, {}
    if wrong or (returned.raised and returned.faults and judgement.well_shaped()):
        cut = traced.cut_for({*found, *(fault.removeprefix("d") for fault in returned.faults)})
        precise = traced.eps < 1e-10 and not own_eps
        evidence = Evidence(cut, arrays, judgement, 1e-7 if precise else 2e-3, traced.arguments.numbers)
        findings = _diagnose(evidence, wrong, judgement.found) if wrong else {}
        findings = {n: (with_layout_advice(n, f, found) if layouts else f, code) for n, (f, code) in findings.items()}
    lines = [*_judged_lines(traced, judgement, findings)]
    for name, fault in returned.faults.items():
        suggestion = corrected_line(evidence, name[1:]) if returned.raised and evidence and name != "backward" else ""
        verdict, mistake = ("wrong", "raised") if returned.raised else ("cannot tell", None)
        lines.append(Line(name, verdict, None, None, mistake, fault, suggestion))
    notes = [
        f"d{n} is not judged: d{line} was computed in the same array, so that d{n} is lost; return d{n}.copy()"
        for n, line in overwritten.items()
    ]
    if own_eps:
        notes.append(
            f"{join_lines([*own_eps])}: computed with float32 inside, as its rounding shows, and judged as such"
        )
    notes += notes_of(traced, returned, after, judgement)
    if order == 2:
        lines += judge_second_order(traced, backward, judgement)
    if finite_differences:
        agrees, note = compare_autodiff(traced)
        notes.append(note)
        if not agrees:
            why = "autodiff itself may be wrong here: see the note on central differences"
            lines = [x._replace(verdict="cannot tell", mistake=None, diagnosis=why, suggestion="") for x in lines]
    return Report(
        tuple(lines), tuple(conventions_of(traced, judgement)), tuple(notes), traced.precision, judgement.cost
    )


def _lines_of_integers(returned: ReturnedLines, found: dict[str, np.ndarray]) -> dict[str, str]:
    """A sentence for each line of an integer array, but for zeros in a pytree like params, which say just that."""
    others = {n: line for n, line in returned.found.items() if n not in found}
    return {
        "d"
        + n: f"{n} holds integers or booleans, for which JAX has no derivative; to judge this line, pass {n} as floats"
        for n, line in others.items()
        if not returned.like_params or line.any()
    }


@np.errstate(all="ignore")  # a candidate may overflow
def _diagnose(evidence: Evidence, wrong: list[str], found: Arrays) -> dict[str, tuple[Finding, str]]:
    """Return a finding and the corrected code for each line to blame. An error in here must not cost the verdict."""
    try:
        return {
            n: (finding, correction(evidence, n, finding)) for n, finding in blame_lines(evidence, wrong, found).items()
        }
    except Exception as error:
        reason = f"{FAILED}: {type(error).__name__}: {error}"
        return {n: (Finding(UNKNOWN, reason, exact=False), "") for n in wrong}


def _judged_lines(traced: TracedCost, judgement: Judgement, findings: dict[str, tuple[Finding, str]]) -> Iterator[Line]:
    steps = roots_behind_steps(traced.graph) if findings else {}
    for name in traced.graph.backward_order():
        errors = judgement.global_errors.get(name), judgement.local_errors.get(name)
        if name in steps and errors[0] == np.inf:
            yield Line("d" + name, "wrong", *errors, "zero by rounding", STEPPED.format(name=name, steps=steps[name]))
        elif name in findings:
            finding, code = findings[name]
            returned = name in judgement.verdicts
            yield Line("d" + name, "wrong", *errors, finding.mistake, finding.diagnosis, code, returned)
        elif name in judgement.verdicts:
            # a wrong line without a finding follows from a line that was not returned
            verdict = "inherited" if judgement.verdicts[name] == "wrong" else judgement.verdicts[name]
            yield Line("d" + name, verdict, *errors, None, judgement.reasons.get(name, ""))
