"""The check of a custom_vjp: its rule against autodiff of the function that it belongs to."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from manual_bp.checker._check import report_on
from manual_bp.checker._report import Line, Report
from manual_bp.checker.graph.arguments import is_float
from manual_bp.checker.graph.cost_graph import has_custom_vjp, has_unreachable_rule
from manual_bp.checker.judge.random_directions import judge_by_differences
from manual_bp.checker.judge.rounding import relative_error
from manual_bp.checker.judge.traced_cost import TracedCost, trace_cost

MISUSES = {
    "cotangent forgotten": "it is the same for twice the cotangent: the rule does not use its cotangent",
    "not linear in the cotangent": "it does not double with the cotangent, as every vjp must",
}


def check_custom_vjp(f: Callable, *args: Any, tolerance: float | None = None, seed: int = 0) -> Report:
    """Judge the backward rule of a `jax.custom_vjp` function, or the rules inside a function.

    The derivative of <u, f(*args)> by the rule, for a random cotangent u, is compared with autodiff of f without the
    rule. A line is named "d" and the name of an argument of f, such as "dx" or "dparams[0].W"; the cotangent is "dout".
    A wrong rule is also given 2 u, to see whether it ignores its cotangent, and the output of fwd is compared with f.

    Where autodiff cannot differentiate f (a callback, a kernel) or would use the rule (inside a loop or a branch),
    central differences take its place. Only the returned lines are judged then.

    f runs in float64 where it allows it, with matmul precision "highest".

    Args:
        f: the function, jitted or not, with any structure of outputs.
        args: the arguments at which to check it. Each floating-point array in them, NumPy or JAX, gets a line.
        tolerance: as in `check_gradients`.
        seed: the seed of the cotangent.

    Returns:
        A `bp.checker.Report`, as from `check_gradients`.

    Raises:
        TypeError: f is not a function, or args hold no floating-point array.
        ValueError: f contains no custom_vjp, or has no floating-point output.

    Example:
        >>> square = jax.custom_vjp(lambda x: x**2)
        >>> square.defvjp(lambda x: (x**2, x), lambda x, u: (2 * x,))  # not times u
        >>> bp.check_custom_vjp(square, np.arange(3.0))["dx"].mistake
        'cotangent forgotten'
    """
    if not callable(f):
        raise TypeError(f"f must be a function with a jax.custom_vjp in it; got {type(f).__name__}")
    if not any(is_float(a) for a in jax.tree.leaves(args) if hasattr(a, "dtype")):
        got = ", ".join(type(a).__name__ for a in args) or "none"
        needed = "the arguments of f, with a floating-point array among them, such as jnp.asarray(1.0)"
        raise TypeError(f"check_custom_vjp(f, *args) needs {needed}; got {got}")
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        weighted = _weighted_output(f, seed)
        traced = trace_cost(weighted, args[0], args[1:], rules_of=f)
        if not has_custom_vjp(traced.graph):
            advice = "use check_gradients to check the gradient of a cost"
            raise ValueError(f"f has no custom_vjp in it, so there is no rule to check; {advice}")
        with_rule, by_rule = _differentiate_by_rule(weighted, traced)
        reason = "a rule is inside a loop or a branch" if has_unreachable_rule(traced.graph) else ""
        try:
            traced.cut_for(traced.graph.successors)(traced.arguments.arrays)
        except Exception as error:
            reason = str(error).strip().splitlines()[0]
        if reason:
            lines = tuple(judge_by_differences(traced, {name[1:]: line for name, line in by_rule.items()}))
            note = f"judged by central differences, because autodiff of f without its rule is not possible: {reason}"
            return Report(lines, (), (note,), traced.precision, traced.cost_again(), "central differences")
        report = report_on(traced, lambda *_: by_rule, tolerance=tolerance)
        notes = ("the cost here is <u, f>, the outputs weighted by a random cotangent u", *report.notes)
        lines = report.lines
        if report.verdict == "wrong":
            _, doubled = _differentiate_by_rule(lambda *arguments: 2 * weighted(*arguments), traced)
            lines = _find_misused_cotangents(lines, by_rule, doubled)
        without_rule = traced.cost_again()
        if not abs(float(with_rule) - without_rule) <= 1e4 * traced.eps * max(abs(without_rule), 1.0):
            values = f"{float(with_rule):.9g} by the rule, not {without_rule:.9g}"
            diagnosis = f"fwd does not return the value of f: <u, f> is {values}"
            lines = Line("out", "wrong", None, None, "another value", diagnosis), *lines
        return dataclasses.replace(report, lines=lines, notes=notes)


def _weighted_output(f: Callable, seed: int) -> Callable:
    """Return the function <u, f(*arguments)>, with the same random u at every call."""

    def weighted(*arguments: Any, tap: Callable = lambda name, value: value) -> Any:
        outputs = [jnp.asarray(o) for o in jax.tree.leaves(f(*arguments))]
        outputs = [o for o in outputs if is_float(o)]
        outputs = [tap(f"out[{i}]" if len(outputs) > 1 else "out", o) for i, o in enumerate(outputs)]
        if not outputs:
            raise ValueError("f has no floating-point output, so its rule has no cotangent; expected at least one")
        rng = np.random.default_rng(seed)
        return sum(jnp.sum(jnp.asarray(rng.normal(size=o.shape), o.dtype) * o) for o in outputs)

    return weighted


def _differentiate_by_rule(weighted: Callable, traced: TracedCost) -> tuple[Any, dict[str, Any]]:
    """Return <u, f> as the forward pass of the rule computes it, and the lines by the rule."""
    arguments, graph = traced.arguments, traced.graph
    active = {name: jnp.asarray(arguments.arrays[place]) for name, place in graph.roots.items()}

    def output_at(active: dict) -> Any:
        return weighted(*arguments.rebuild(graph.with_roots(arguments.arrays, active)))

    value, found = jax.value_and_grad(output_at)(active)
    return value, {"d" + name: line for name, line in found.items()}


def _find_misused_cotangents(lines: tuple[Line, ...], once: dict, twice: dict) -> tuple[Line, ...]:
    """Blame the lines that do not double with the cotangent, in which a vjp is linear."""
    found = {}
    for line in lines:
        a, b = (np.asarray(by.get(line.line, 0.0), np.float64) for by in (once, twice))
        if line.verdict in ("wrong", "inherited") and a.any() and relative_error(b, 2 * a) > 1e-6:
            key = "cotangent forgotten" if relative_error(b, a) <= 1e-6 else "not linear in the cotangent"
            found[line.line] = line._replace(verdict="wrong", mistake=key, diagnosis=MISUSES[key], suggestion="")
    if not found:
        return lines
    return tuple(found.get(line.line, line) for line in lines if line.returned)
