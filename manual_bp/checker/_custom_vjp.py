"""The check of a custom rule, such as that of a custom_vjp, against autodiff of the function that it belongs to."""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import jax
import numpy as np

from manual_bp.checker._line_by_differences import judge_by_differences
from manual_bp.checker._one_pass import check_options, report_on
from manual_bp.checker._precision import in_float64
from manual_bp.checker._report import Report
from manual_bp.checker._report_line import Line
from manual_bp.checker._rule import Rule, trace_rule
from manual_bp.checker._rule_outputs import differing_output
from manual_bp.checker._second_point import AT_KINKS, FITTING, Point, count_units, points_off_kinks, withdrawn
from manual_bp.checker.diagnose.cotangent_parts import explain_by_cotangents, find_misused_cotangents
from manual_bp.checker.graph.arguments import SEED, Arguments, flatten_arguments, is_float
from manual_bp.checker.graph.cost_graph import has_unreachable_rule
from manual_bp.checker.judge.random_directions import compiled_cost
from manual_bp.checker.judge.returned_lines import read_lines
from manual_bp.checker.judge.second_order import without_second_order

LARGER = 30.0  # a rule that clips its cotangent is linear in a small one


def check_custom_vjp(
    f: Callable,
    *args: Any,
    surrogate: Callable | None = None,
    tolerance: float | None = None,
    order: int = 1,
    seed: int = 0,
) -> Report:
    """Judge the rule of a `jax.custom_vjp` or `jax.custom_jvp` function, or the rules inside a function.

    The derivative of <u, f(*args)> by the rule, for a random cotangent u, is compared with autodiff of f without the
    rule. A line is named "d" and the name of an argument of f, such as "dx" or "dparams[0].W"; the cotangent is "dout",
    or dout[1] or dout["sum"] for one of several outputs. A wrong rule is also given 2 u and parts of u, to see how much
    of its cotangent it uses, and the output of fwd is compared with f.
    A rule that is right is judged again, for a larger cotangent and with its arguments moved, because equal values, and
    values that fit each other, hide mistakes. Labels, masks and distributions are not moved. No line may be transposed,
    because JAX takes the lines as they are.

    Rules of custom_jvp are judged if f has no custom_vjp in it.

    Where autodiff cannot differentiate f (a callback, a kernel) or would use the rule (inside a loop or a branch),
    central differences take its place. Only the returned lines are judged then.

    f runs in float64 where it allows it, with matmul precision "highest".

    Args:
        f: the function, jitted or not, with any structure of outputs.
        args: the arguments at which to check it. Each floating-point array in them, NumPy or JAX, gets a line, and so
            does a Python float for which the rule gives a derivative.
        surrogate: the function of the same arguments whose gradient is meant, for a rule that differs from its function
            on purpose, such as a straight-through estimator or a gradient reversal (lambda x: -x). JAX differentiates
            it as it is, by its own rules, and f needs no rule then. A rule that clips its cotangent is the gradient of
            no function: its surrogate has a rule that clips, too.
        tolerance: as in `check_gradients`.
        order: 2 to also differentiate the rule once more, as line d(dx).
        seed: the seed of the cotangent.

    Returns:
        A `bp.checker.Report`, as from `check_gradients`.

    Raises:
        TypeError: f is not a function, or args hold no floating-point array.
        ValueError: f contains no rule, or has no floating-point output.

    Example:
        >>> square = jax.custom_vjp(lambda x: x**2)
        >>> square.defvjp(lambda x: (x**2, x), lambda x, u: (2 * x,))  # not times u
        >>> bp.check_custom_vjp(square, np.arange(3.0))["dx"].mistake
        'cotangent forgotten'
    """
    if not callable(f):
        raise TypeError(f"f must be a function with a jax.custom_vjp in it; got {type(f).__name__}")
    if not any(is_float(a) for a in jax.tree.leaves(args) if hasattr(a, "dtype")):
        got = ", ".join(f"{type(a).__name__}{f' of {a.dtype}' if hasattr(a, 'dtype') else ''}" for a in args) or "none"
        needed = "the arguments of f, with a floating-point array among them, such as jnp.asarray(1.0)"
        raise TypeError(f"check_custom_vjp(f, *args) needs {needed}; got {got}")
    if surrogate is not None and not callable(surrogate):
        raise TypeError(f"surrogate must be a function of the arguments of f; got {type(surrogate).__name__}")
    check_options(tolerance, order)

    def report_at(args: tuple, numbers: Collection[str]) -> Report:
        given = flatten_arguments(f, args[0], args[1:], numbers=False)
        return _judge_at_two_points(f, surrogate, given, tolerance, order, seed, numbers)

    def report() -> Report:
        with_arrays = jax.tree.map(lambda leaf: np.asarray(leaf) if type(leaf) is float else leaf, args)
        numbers = {*_names(f, with_arrays)} - {*_names(f, args)}
        if numbers:
            try:
                return report_at(with_arrays, numbers)
            except Exception:
                pass  # f takes a number only as it is, such as one of nondiff_argnums
        return report_at(args, ())

    return in_float64(report)


def _names(f: Callable, args: tuple) -> tuple[str, ...]:
    return flatten_arguments(f, args[0], args[1:], numbers=False).names


def _judge_at_two_points(
    f: Callable,
    surrogate: Callable | None,
    given: Arguments,
    tolerance: float | None,
    order: int,
    seed: int,
    numbers: Collection[str],
) -> Report:
    """Judge the rule; if it is right, judge it again for another cotangent, and where its arguments are moved.

    A rule that misuses an argument can be right where that holds one value, as the weight of a norm does at its start.
    Labels, masks and distributions stay as they are, because many a rule is meant for them only.
    """
    rule = trace_rule(f, surrogate, given, np.random.default_rng((SEED, seed, 0)))
    if isinstance(rule, Report):
        return rule
    report = _judge(rule, tolerance, order, numbers)
    if report.verdict != "right":
        return report
    moved, names = given.constants_moved()
    elsewhere = rule.with_cotangents(moved.arrays, np.random.default_rng((SEED, seed, 1)), LARGER)
    second = _judge(elsewhere, tolerance, 1, numbers)
    if second.verdict == "wrong":
        moved_too = f", and with {', '.join(names)} moved, because equal values hide mistakes" if names else ""
        note = f"right for the arguments given; wrong for a cotangent {LARGER:g} times as large{moved_too}"
        return dataclasses.replace(second, notes=(note, *second.notes))
    report = _judge_off_kinks(rule, report, tolerance, numbers)
    if report.verdict != "right":
        return report
    free, scaled = ([n for n in given.of_kind(kind) if n not in names] for kind in ("any", "scaled"))
    for more in ([free] if free else []) + ([free + scaled] if scaled else []):
        arrays = moved.moved(more).arrays
        elsewhere = rule.with_cotangents(arrays, np.random.default_rng((SEED, seed, 2)), 1.0)
        second = _judge(elsewhere, tolerance, 1, numbers)
        if second.verdict == "wrong":
            return withdrawn(report, second, Point(names + more, arrays, FITTING, certain=more == free))
    return report


def _judge_off_kinks(rule: Rule, report: Report, tolerance: float | None, numbers: Collection[str]) -> Report:
    """Judge a right rule where no unit is at a kink. One cannot tell if integers, such as labels, have to be moved."""
    traced = rule.traced
    if report.truth != "autodiff":
        return report
    arrays, names = traced.arguments.arrays, [*traced.graph.params]
    continuous = [n for n in names if (a := np.asarray(arrays[traced.graph.roots[n]])).size and np.any(np.modf(a)[0])]
    for which, moved in points_off_kinks(traced, continuous, names):
        elsewhere = rule._replace(traced=traced._replace(arguments=traced.arguments._replace(arrays=moved)))
        second = _judge(elsewhere, tolerance, 1, numbers)
        if second.verdict == "wrong" and count_units(traced, which):
            certain = which == continuous or not continuous
            return withdrawn(report, second, Point(which, moved, AT_KINKS, certain))
    return report


def _judge(rule: Rule, tolerance: float | None, order: int, numbers: Collection[str]) -> Report:
    traced, arrays = rule.traced, rule.traced.arguments.arrays
    outputs, by_rule = rule.differentiate(arrays)
    # a rule says by a zero that it takes a Python number for a constant
    once = {n: line for n, line in by_rule.items() if n[1:] not in numbers or np.any(line)}
    reason = "a rule is inside a loop or a branch" if has_unreachable_rule(traced.graph) else ""
    try:
        traced.cut_for(traced.graph.params)(arrays)
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
    if reason:
        found, cost = {name[1:]: np.asarray(line) for name, line in once.items()}, compiled_cost(traced)
        lines = judge_by_differences(traced.arguments, cost, found, tolerance, traced.eps, reason)
        notes = (f"judged by central differences, because autodiff of f without its rule is not possible: {reason}",)
        lines = without_second_order(lines) if order == 2 else lines
        report = Report(tuple(lines), (), notes, traced.precision, cost(arrays), "central differences")
    else:
        # JAX takes the lines of a rule as they are, so that none may be transposed
        returned = read_lines(once, (), traced.names())._replace(like_params=True)
        report = report_on(traced, rule.backward, (returned, arrays), tolerance, order)
        notes = ("the cost here is <u, f>, the outputs weighted by a random cotangent u", *report.notes)
    lines = report.lines
    if report.verdict == "wrong":
        _, doubled = rule.differentiate(rule.with_doubled_cotangents())
        lines = find_misused_cotangents(lines, once, doubled)
        lines = lines if reason else explain_by_cotangents(lines, traced, rule.lines_of)
    if why := differing_output(rule, outputs, report.cost, known=not reason):
        lines = (Line("out", "wrong", None, None, "another value", why), *lines)
    return dataclasses.replace(report, lines=lines, notes=notes)
