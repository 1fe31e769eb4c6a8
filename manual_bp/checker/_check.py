"""The check of a backward pass: trace the cost, run the pass, judge its lines, and diagnose the wrong ones."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np

from manual_bp.checker._by_differences import report_by_differences
from manual_bp.checker._report import Line, Report
from manual_bp.checker._rules_in_costs import report_on_rules
from manual_bp.checker.diagnose.blamed_lines import blame_lines
from manual_bp.checker.diagnose.corrected_code import corrected_line
from manual_bp.checker.diagnose.evidence import Evidence, Finding
from manual_bp.checker.graph.arguments import flatten_arguments, is_float
from manual_bp.checker.graph.cost_graph import has_custom_vjp
from manual_bp.checker.graph.jaxpr_walk import CUSTOM_VJP
from manual_bp.checker.judge.random_directions import compare_autodiff, judge_second_order
from manual_bp.checker.judge.reconsider import overwritten_lines, reconsider
from manual_bp.checker.judge.returned_lines import ReturnedLines, call_backward
from manual_bp.checker.judge.rounding import eps_of_values
from manual_bp.checker.judge.traced_cost import TracedCost, has_narrow_floats, trace_cost
from manual_bp.checker.judge.verdicts import Judgement, judge_lines

# What JAX raises where NumPy, Python's float() or an if meets a traced array
UNTRACEABLE = (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError)

P = ParamSpec("P")
R = TypeVar("R")


def refuse_non_functions(check: Callable[P, R]) -> Callable[P, R]:
    """Look at the first three arguments before Python counts them."""

    @functools.wraps(check)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        __tracebackhide__ = True
        given: dict[str, Any] = dict(zip(("cost", "backward", "params"), args, strict=False)) | kwargs
        for name in ("cost", "backward", "params"):
            if name not in given or (name != "params" and not callable(given[name])):
                kind = "a pytree of arrays" if name == "params" else "a function of (params, *args)"
                got = type(given[name]).__name__ if name in given else "nothing"
                call = f"call {check.__name__}(cost, backward, params, *args)"
                raise TypeError(f"{name} must be {kind}; got {got}; {call}")
        return check(*args, **kwargs)

    return checked


@refuse_non_functions
def check_gradients(
    cost: Callable,
    backward: Callable,
    params: Any,
    *args: Any,
    tolerance: float | None = None,
    order: int = 1,
    finite_differences: bool = False,
) -> Report:
    """Judge every line of a hand-written backward pass against autodiff of the cost, and name the mistakes in it.

    A line, such as dZ2 or dW1, is judged twice: against autodiff (global), and against the line that follows from the
    user's own lines upstream (local), by cutting the cost's graph at each of them. A line that fails both is wrong, and
    is compared with a catalogue of mistakes. A line that fails only the first is "inherited".

    Conventions are inferred and accepted: where 1/m or the examples' weights are applied, examples in rows, and W
    stored transposed. A returned pytree like params must have each gradient in the shape of its parameter, since an
    optimizer subtracts it. Only named lines may be transposed.

    Both functions run in float64 where they allow it, with matmul precision "highest".

    Args:
        cost: a function cost(params, *args) or cost(params, *args, tap) that returns a scalar. One that JAX cannot
            differentiate, such as one in NumPy, is judged by central differences along random directions.
            tap("Z1", Z1) returns Z1 and names it, so that its line is "dZ1". The weighted inputs and activations around
            products with a parameter need no tap: they are named after the parameter, Z1 and A1 for W1.
        backward: a function backward(params, *args), in JAX or NumPy. It returns any of the lines, {"dZ2": ...,
            "dW2": ...}, or a complete pytree like params. A line is named "d" and the name of a tap, a parameter or an
            argument; a nested parameter by its path, "dlayers[0].W". It gets copies of the arrays.
        params: a pytree of NumPy or JAX arrays.
        args: the other arguments of the cost. Arrays among them can have a line too.
        tolerance: the relative error, in norm, that a right line may have. The default depends on the dtype, the depth
            of the line and the longest sum: about 1e-14 in float64 and 1e-5 in float32 for a small network.
        order: 2 to also judge the derivative of each right line along a random direction of params, as line d(dW1).
        finite_differences: also compare autodiff with central differences of the cost, over a sweep of step sizes. If
            they differ, no line is called right.

    Returns:
        A `bp.checker.Report`: print it, look at report.lines, or call report.raise_if_wrong().

    Raises:
        ValueError: the cost is not a floating-point scalar, a tap is called twice or inside a loop, or backward raised
            an error with no line among its local variables. If there are some, they are judged, and the report is
            "wrong".
        TypeError: backward returned neither lines nor gradients.

    Example:
        >>> cost = lambda params, X, Y: jnp.mean(jnp.sum((params["W"] @ X - Y) ** 2, axis=0))
        >>> backward = lambda params, X, Y: {"dW": 2 * (params["W"] @ X - Y) @ X.T}
        >>> report = bp.check_gradients(cost, backward, {"W": np.ones((2, 3))}, np.eye(3, 5), np.zeros((2, 5)))
        >>> report.verdict, report["dW"].mistake
        ('wrong', 'missing 1/m')
    """
    if tolerance is not None and not (isinstance(tolerance, int | float) and tolerance > 0):
        raise ValueError(f"tolerance must be a positive number, the largest relative error allowed; got {tolerance!r}")
    if order not in (1, 2):
        raise ValueError(f"order must be 1, or 2 to check second derivatives as well; got {order!r}")
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        try:
            traced = trace_cost(cost, params, args)
            call = call_on(traced, backward)
        except UNTRACEABLE as error:
            reason = str(error).splitlines()[0]
            return report_by_differences(cost, backward, params, args, reason, tolerance, traceable=False)
        if call[0].raised and has_narrow_floats(flatten_arguments(cost, params, args)):
            narrow = trace_cost(cost, params, args, as_given=True)
            again = call_on(narrow, backward)
            traced, call = (traced, call) if again[0].raised else (narrow, again)
        try:
            report = report_on(traced, backward, call, tolerance, order, finite_differences)
        except ValueError as error:
            if "Reverse-mode differentiation" not in str(error):
                raise
            reason = str(error).splitlines()[0]
            return report_by_differences(cost, backward, params, args, reason, tolerance, traceable=True)
        return report_on_rules(
            traced, report, lambda around: report_on(around, backward, None, tolerance, order, finite_differences)
        )


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
    judge = functools.partial(judge_lines, traced, tolerance=tolerance, layouts=not returned.like_params)
    with np.errstate(all="ignore"):  # values that are not finite are judged, so need no warning
        judgement = judge(arrays, found)
    if overwritten := overwritten_lines(graph, found, judgement):
        found = {n: line for n, line in found.items() if n not in overwritten}
        judgement = judge(arrays, found)
    if judgement.with_verdict("wrong", "inherited") and not returned.raised:
        arrays, judgement = reconsider(traced, backward, found, judgement, judge)
    wrong, evidence, findings = judgement.with_verdict("wrong"), None, {}
    if wrong or (returned.raised and returned.faults and judgement.well_shaped()):
        cut = traced.cut_for({*found, *(fault.removeprefix("d") for fault in returned.faults)})
        evidence = Evidence(cut, arrays, judgement, 1e-7 if traced.eps < 1e-10 else 2e-3)
        findings = blame_lines(evidence, wrong, judgement.found) if wrong else {}
    lines = [*_judged_lines(traced, judgement, findings, evidence)]
    for name, fault in returned.faults.items():
        suggestion = corrected_line(evidence, name[1:]) if returned.raised and evidence and name != "backward" else ""
        verdict, mistake = ("wrong", "raised") if returned.raised else ("cannot tell", None)
        lines.append(Line(name, verdict, None, None, mistake, fault, suggestion))
    notes = [
        f"d{n} is not judged: d{line} was computed in the same array, so that d{n} is lost; return d{n}.copy()"
        for n, line in overwritten.items()
    ]
    notes += _notes(traced, returned, after, judgement)
    if order == 2:
        lines += judge_second_order(traced, backward, judgement)
    if finite_differences:
        agrees, note = compare_autodiff(traced)
        notes.append(note)
        if not agrees:
            why = "autodiff itself may be wrong here: see the note on central differences"
            lines = [x._replace(verdict="cannot tell", mistake=None, diagnosis=why, suggestion="") for x in lines]
    return Report(tuple(lines), tuple(_conventions(traced, judgement)), tuple(notes), traced.precision, judgement.cost)


def _lines_of_integers(returned: ReturnedLines, found: dict[str, np.ndarray]) -> dict[str, str]:
    """A sentence for each line of an integer array, but for zeros in a pytree like params, which say just that."""
    others = {n: line for n, line in returned.found.items() if n not in found}
    return {
        "d"
        + n: f"{n} holds integers or booleans, for which JAX has no derivative; to judge this line, pass {n} as floats"
        for n, line in others.items()
        if not returned.like_params or line.any()
    }


def _join(names: list[str]) -> str:
    return ", ".join("d" + n for n in names)


def _judged_lines(
    traced: TracedCost, judgement: Judgement, findings: dict[str, Finding], evidence: Evidence | None
) -> Iterator[Line]:
    for name in traced.graph.backward_order():
        errors = judgement.global_errors.get(name), judgement.local_errors.get(name)
        finding = findings.get(name)
        if finding and evidence:
            diagnosis = finding.mistake, finding.diagnosis, corrected_line(evidence, name)
            yield Line("d" + name, "wrong", *errors, *diagnosis, returned=name in judgement.verdicts)
        elif name in judgement.verdicts:
            # a wrong line without a finding follows from a line that was not returned
            verdict = "inherited" if judgement.verdicts[name] == "wrong" else judgement.verdicts[name]
            yield Line("d" + name, verdict, *errors, None, judgement.reasons.get(name, ""))


def _conventions(traced: TracedCost, judgement: Judgement) -> Iterator[str]:
    nodes = traced.graph.nodes.keys()
    if deltas := sorted(judgement.transposed & nodes):
        yield f"rows for columns: {_join(deltas)}, transposed relative to the cost's intermediates"
    if gradients := sorted(judgement.transposed - nodes):
        yield f"weights stored transposed: {_join(gradients)}, relative to the parameters"
    if judgement.weights is not None:
        yield "the examples' weights are taken at dW and db: dZ and dA are derivatives of each example's own loss"
    if judgement.scale != 1:
        text = f"m = {judgement.m}" if judgement.scale == judgement.m else f"{judgement.scale:.6g}"
        yield f"the average is taken at dW and db: dZ and dA are {text} times the derivative of the cost"


def _notes(traced: TracedCost, returned: ReturnedLines, after: list, judgement: Judgement) -> Iterator[str]:
    graph, arguments = traced.graph, traced.arguments
    if not np.isfinite(judgement.cost):
        yield f"the cost is {judgement.cost} here"
    if returned.raised:
        yield "backward raised an error; only the lines computed before it are judged"
    if judgement.with_verdict("wrong") and judgement.m > 1 and not judgement.found.keys() & graph.nodes.keys():
        yield "no dZ or dA was returned, so a correction takes them as derivatives of the cost, which include 1/m"
    triples = zip(arguments.names, arguments.arrays, after, strict=True)
    if changed := [n for n, a, b in triples if a is not b and not np.array_equal(a, b, equal_nan=is_float(a))]:
        yield f"backward changed {', '.join(changed)} in place, so its later lines do not use the values of the cost"
    own = {n: eps_of_values(line) for n, line in judgement.found.items() if returned.found[n].dtype == np.float64}
    if coarse := [n for n, eps in own.items() if eps > traced.eps]:
        yield f"{_join(coarse)}: all values are exact in a narrower dtype, so they are judged as computed in it"
    missing = [n for n in graph.params if n not in returned.found and f"d{n}" not in returned.faults]
    if missing and not returned.raised:
        yield f"not returned, so not judged: {_join(missing)}"
    if has_custom_vjp(graph) and not CUSTOM_VJP <= graph.into:
        yield "the cost contains a custom_vjp, whose rule autodiff follows; check_custom_vjp checks the rule itself"
