"""The check itself: trace the cost, run the backward pass, judge its lines, and say what is wrong with them."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from manual_bp.checker._conventions import layout_sentences
from manual_bp.checker._doubt import reconsider
from manual_bp.checker._explain import explain
from manual_bp.checker._factor import Finding
from manual_bp.checker._finite_differences import agreement
from manual_bp.checker._graph import has_custom_vjp
from manual_bp.checker._inputs import is_float, take_apart
from manual_bp.checker._judge import Judged, judge
from manual_bp.checker._prepare import Prepared, is_narrow, prepare
from manual_bp.checker._report import Line, Report
from manual_bp.checker._returned import Returned, call
from manual_bp.checker._scene import Scene
from manual_bp.checker._second_order import second_order
from manual_bp.checker._stage import written
from manual_bp.checker._walk import CUSTOM_VJP

PRECISIONS = {1e-10: "float64", 1e-6: "float32"}


def check_gradients(
    cost: Callable,
    backward: Callable,
    params: Any,
    *args: Any,
    tolerance: float | None = None,
    order: int = 1,
    finite_differences: bool = False,
) -> Report:
    """Judge a hand-written backward pass line by line against autodiff of the cost, and name the mistakes in it.

    Each line d_r is judged twice: against the derivative that autodiff finds, and against what it should be given the
    user's own lines upstream of it, sum over the t that r feeds of (dt/dr)^T d_t, by cutting the cost's graph at each
    of those. A line that fails the first and passes the second is "inherited"; one that fails both is wrong, and is
    compared with a catalogue of mistakes. Where 1/m (or the examples' weights) are taken, rows for columns, and W
    stored transposed are conventions: they are inferred and accepted, the transposed ones not in a pytree like params,
    which is there to be subtracted from them.

    Args:
        cost: cost(params, *args) or cost(params, *args, tap), a scalar, in JAX. tap("Z1", Z1) returns Z1 and names it,
            so that its line is "dZ1". The weighted inputs and activations around products with a parameter are found
            without a tap, and are named after the parameter: Z1 and A1 for W1.
        backward: backward(params, *args), in JAX or NumPy. It returns any subset of the lines, {"dZ2": ..., "dW2":
            ...}, where a line is "d" and the name of a tap, a parameter or an argument (for a nested one its path,
            "dlayers[0].W"), or a pytree like params, none of it None. It gets copies.
        params: a pytree of arrays, NumPy's or JAX's.
        args: what the cost takes besides; arrays in them may have a line too.
        tolerance: the relative error in norm that passes. By default it follows from the dtype, the depth of the line
            and the longest sum: some 1e-14 in float64 and 1e-5 in float32 for a small network.
        order: 2 also judges the derivative of each right line along a random direction of params, a line d(dW1).
        finite_differences: also compare autodiff with central differences of the cost, over a sweep of steps; if they
            differ, no line is called right.

    Returns:
        A `Report`: print it, look at report.lines, or call report.raise_if_wrong().

    Raises:
        ValueError: the cost is not a floating-point scalar, a tap is called twice or inside a loop, or backward raised
            before it had any line. If it had some, they are judged and the report is "wrong".
        TypeError: the cost is not written in JAX, or backward returned something other than lines or gradients.

    Both functions run in float64 where they allow it, with matmul precision "highest".
    """
    if tolerance is not None and not (isinstance(tolerance, int | float) and tolerance > 0):
        raise ValueError(f"tolerance must be a positive number, a relative error; got {tolerance!r}")
    if order not in (1, 2):
        raise ValueError(f"order must be 1, or 2 for second derivatives as well; got {order!r}")
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        prepared = prepare(cost, params, args)
        run = _run(prepared, backward)
        if run.returned.raised and is_narrow(take_apart(cost, params, args)):
            narrow = prepare(cost, params, args, as_given=True)
            again = _run(narrow, backward)
            prepared, run = (prepared, run) if again.returned.raised else (narrow, again)
        return check(prepared, backward, run, tolerance, order, finite_differences)


def assert_gradients_match(cost: Callable, backward: Callable, params: Any, *args: Any, **options: Any) -> None:
    """`check_gradients` for a test: raise `AssertionError`, with the report, unless every line is right.

    A line about which nothing can be told, a gradient of zero for instance, fails too: the test would show nothing.
    """
    __tracebackhide__ = True
    report = check_gradients(cost, backward, params, *args, **options)
    report.raise_if_wrong()
    if report.verdict != "right":
        raise AssertionError(f"the gradients could not be verified\n{report}")


class Run(NamedTuple):
    """What backward returned, and the arrays that it was given, after it had run."""

    returned: Returned
    arrays: list


def check(
    prepared: Prepared,
    backward: Callable,
    run: Run | None = None,
    tolerance: float | None = None,
    order: int = 1,
    finite_differences: bool = False,
) -> Report:
    """The report on one backward pass, under the precision that is set."""
    graph, arrays = prepared.graph, prepared.inputs.arrays
    returned, after = run or _run(prepared, backward)
    found = {n: line for n, line in returned.found.items() if n in graph.nodes or n in graph.roots}
    if "backward" in returned.faults and not found:
        raise ValueError(returned.raised)
    if not found and not returned.faults:
        raise ValueError("backward returned no line; expected a dict such as {'dW1': ...}")
    with np.errstate(all="ignore"):  # what is not finite is judged, not warned of
        judged = judge(prepared, arrays, found, tolerance, layouts=not returned.like_params)
    if judged.with_verdict("wrong", "inherited") and not returned.raised:
        arrays, judged = reconsider(prepared, backward, found, judged, tolerance, not returned.like_params)
    wrong, scene, findings = judged.with_verdict("wrong"), None, {}
    if wrong or (returned.raised and returned.faults and judged.well_shaped()):
        scene = Scene(prepared.full_cut(), arrays, judged, 1e-7 if prepared.eps < 1e-10 else 2e-3)
        findings = explain(scene, wrong, judged.found) if wrong else {}
    lines = [*_lines(prepared, judged, findings, scene), *_faults(returned, scene)]
    notes = [*_notes(prepared, returned, after, judged)]
    if order == 2:
        lines += second_order(prepared, backward, judged)
    if finite_differences:
        agrees, note = agreement(prepared)
        notes.append(note)
        if not agrees:
            why = "autodiff itself is in doubt: see the note on central differences"
            lines = [x._replace(verdict="cannot tell", diagnosis=why) if x.verdict == "right" else x for x in lines]
    return Report(
        tuple(lines), tuple(_conventions(prepared, judged)), tuple(notes), precision(prepared.eps), judged.cost
    )


def precision(eps: float) -> str:
    return next((name for limit, name in PRECISIONS.items() if eps < limit), "less than float32")


def _run(prepared: Prepared, backward: Callable) -> Run:
    arrays = prepared.inputs.copied_arrays()
    return Run(call(backward, prepared.inputs.rebuild(arrays), prepared.names()), arrays)


def _lines(prepared: Prepared, judged: Judged, findings: dict[str, Finding], scene: Scene | None) -> Iterator[Line]:
    for name in prepared.graph.backward_order():
        errors = judged.global_errors.get(name), judged.local_errors.get(name)
        finding = findings.get(name)
        if finding and scene:
            what = finding.mistake, finding.diagnosis, written(scene, name)
            yield Line("d" + name, "wrong", *errors, *what, returned=name in judged.verdicts)
        elif name in judged.verdicts:
            # a wrong line that nothing was found for follows from one that was not returned
            verdict = "inherited" if judged.verdicts[name] == "wrong" else judged.verdicts[name]
            yield Line("d" + name, verdict, *errors, None, judged.reasons.get(name, ""))


def _faults(returned: Returned, scene: Scene | None) -> Iterator[Line]:
    for name, fault in returned.faults.items():
        if returned.raised:
            suggestion = written(scene, name[1:]) if scene and name != "backward" else ""
            yield Line(name, "wrong", None, None, "raised", fault, suggestion)
        else:
            yield Line(name, "cannot tell", None, None, None, fault)


def _conventions(prepared: Prepared, judged: Judged) -> Iterator[str]:
    yield from layout_sentences(prepared.graph, judged.turned)
    if judged.weights is not None:
        yield "the examples' weights are taken at dW and db: dZ and dA are derivatives of each example's own loss"
    if judged.scale != 1:
        text = f"m = {judged.m}" if judged.scale == judged.m else f"{judged.scale:.6g}"
        yield f"the average is taken at dW and db: dZ and dA are {text} times the derivative of the cost"


def _notes(prepared: Prepared, returned: Returned, after: list, judged: Judged) -> Iterator[str]:
    if not np.isfinite(judged.cost):
        yield f"the cost is {judged.cost} here"
    if returned.raised:
        yield "backward raised; the lines that it had by then are judged"
    if judged.with_verdict("wrong") and judged.m > 1 and not judged.found.keys() & prepared.graph.nodes.keys():
        yield "no dZ or dA was returned: where a correction has one, it is the derivative of the cost, 1/m in it"
    changed = _changed(prepared, after)
    if changed:
        yield f"backward changed {', '.join(changed)} in place; from there on its values are not those of the cost"
    missing = [n for n in prepared.graph.params if n not in returned.found and f"d{n}" not in returned.faults]
    if missing and not returned.raised:
        yield f"not returned, so not judged: {', '.join('d' + n for n in missing)}"
    if has_custom_vjp(prepared.graph) and not CUSTOM_VJP <= prepared.graph.into:
        yield "the cost has a custom_vjp in it, by whose rule autodiff goes; check_custom_vjp checks the rule itself"


def _changed(prepared: Prepared, after: list) -> list[str]:
    inputs = prepared.inputs
    return [
        name
        for name, a, b in zip(inputs.names, inputs.arrays, after, strict=True)
        if isinstance(a, np.ndarray) and not np.array_equal(a, b, equal_nan=is_float(a))
    ]
