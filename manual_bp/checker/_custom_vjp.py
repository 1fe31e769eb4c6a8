"""The check of a custom_vjp: its rule against autodiff of the function that it belongs to."""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from manual_bp.checker._check import report_on
from manual_bp.checker._report import Line, Report
from manual_bp.checker.diagnose.cotangent_parts import explain_by_cotangents
from manual_bp.checker.graph.arguments import flatten_arguments, is_float
from manual_bp.checker.graph.cost_graph import has_custom_vjp, has_unreachable_rule
from manual_bp.checker.judge.cut_graph import Arrays
from manual_bp.checker.judge.random_directions import judge_by_differences
from manual_bp.checker.judge.returned_lines import read_lines
from manual_bp.checker.judge.rounding import coarsest_eps_inside, relative_error
from manual_bp.checker.judge.traced_cost import TracedCost, trace_cost

# The cotangents come from a seed of their own: from default_rng(0), which users draw their arguments from, a cotangent
# equals the argument, and a rule that takes one for the other is right
SEED = 0x6D62705F
LARGER = 30.0  # a rule that clips its cotangent is linear in a small one

MISUSES = {
    "cotangent forgotten": "it is the same for twice the cotangent: the rule does not use its cotangent",
    "not linear in the cotangent": "it does not double with the cotangent, as every vjp must",
}


def check_custom_vjp(f: Callable, *args: Any, tolerance: float | None = None, seed: int = 0) -> Report:
    """Judge the backward rule of a `jax.custom_vjp` function, or the rules inside a function.

    The derivative of <u, f(*args)> by the rule, for a random cotangent u, is compared with autodiff of f without the
    rule. A line is named "d" and the name of an argument of f, such as "dx" or "dparams[0].W"; the cotangent is "dout",
    or dout[1] or dout["sum"] for one of several outputs. A wrong rule is also given 2 u and parts of u, to see how much
    of its cotangent it uses, and the output of fwd is compared with f.
    A rule that is right is judged once more, for a larger cotangent and with arguments that hold one value moved,
    because equal values hide mistakes. No line may be transposed, because JAX takes the lines as they are.

    Where autodiff cannot differentiate f (a callback, a kernel) or would use the rule (inside a loop or a branch),
    central differences take its place. Only the returned lines are judged then.

    f runs in float64 where it allows it, with matmul precision "highest".

    Args:
        f: the function, jitted or not, with any structure of outputs.
        args: the arguments at which to check it. Each floating-point array in them, NumPy or JAX, gets a line, and so
            does a Python float for which the rule gives a derivative.
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
        arrays = jax.tree.map(lambda leaf: np.asarray(leaf) if type(leaf) is float else leaf, args)
        numbers = {n for n in _names(f, arrays) if n not in _names(f, args)}
        if numbers:
            try:
                return _judge_at_two_points(f, arrays, tolerance, seed, numbers)
            except Exception:
                pass  # f takes a number only as it is, such as one of nondiff_argnums
        return _judge_at_two_points(f, args, tolerance, seed)


def _judge_at_two_points(
    f: Callable, args: tuple, tolerance: float | None, seed: int, numbers: Collection[str] = ()
) -> Report:
    """Judge the rule; if it is right, judge it again for another cotangent and where constant arguments are moved.

    A rule that misuses an argument can be right where that holds one value, as the weight of a norm does at its start.
    """
    report = _judge(f, args, tolerance, (seed, 0), 1.0, numbers)
    if report.verdict != "right":
        return report
    moved, names = flatten_arguments(f, args[0], args[1:], numbers=False).constants_moved(np.random.default_rng(SEED))
    second = _judge(f, moved.copies(), tolerance, (seed, 1), LARGER, numbers)
    if second.verdict != "wrong":
        return report
    moved_too = f", and with {', '.join(names)} moved, because equal values hide mistakes" if names else ""
    note = f"right for the arguments given; wrong for a cotangent {LARGER:g} times as large{moved_too}"
    return dataclasses.replace(second, notes=(note, *second.notes))


def _judge(
    f: Callable,
    args: tuple,
    tolerance: float | None,
    seed: tuple[int, int],
    scale: float,
    numbers: Collection[str],
) -> Report:
    weighted = _weighted_output(f, seed, scale)
    traced = trace_cost(weighted, args[0], args[1:], rules_of=f)
    if not has_custom_vjp(traced.graph):
        advice = "use check_gradients to check the gradient of a cost"
        raise ValueError(f"f has no custom_vjp in it, so there is no rule to check; {advice}")

    def by_rule(*arguments: Any, times: float = 1.0) -> tuple[Any, dict[str, Any]]:
        return _differentiate_by_rule(f, lambda *given: times * weighted(*given), traced, arguments)

    rebuild, arrays = traced.arguments.rebuild, traced.arguments.copied_arrays()
    try:
        inside = coarsest_eps_inside(lambda arrays: by_rule(*rebuild(arrays)), arrays)
    except (TypeError, ValueError) as error:
        if " bwd rule " not in str(error):
            raise
        line = Line("the rule", "wrong", None, None, "wrong shape", f"JAX refuses what it returns: {error}")
        return Report((line,), (), (), traced.precision, traced.cost_again())
    traced = traced._replace(eps=max(traced.eps, inside))  # a rule may compute in less than the function does
    with_rule, once = by_rule(*rebuild(arrays))
    # a rule says by a zero that it takes a Python number for a constant
    once = {name: line for name, line in once.items() if name[1:] not in numbers or np.any(line)}
    reason = "a rule is inside a loop or a branch" if has_unreachable_rule(traced.graph) else ""
    try:
        traced.cut_for(traced.graph.successors)(traced.arguments.arrays)
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
    if reason:
        lines = tuple(judge_by_differences(traced, {name[1:]: line for name, line in once.items()}))
        note = f"judged by central differences, because autodiff of f without its rule is not possible: {reason}"
        return Report(lines, (), (note,), traced.precision, traced.cost_again(), "central differences")
    # JAX takes the lines of a rule as they are, so that none may be transposed
    returned = read_lines(once, args[0], traced.names())._replace(like_params=True)
    call = returned, traced.arguments.arrays
    report = report_on(traced, lambda *arguments: by_rule(*arguments)[1], call, tolerance)
    notes = ("the cost here is <u, f>, the outputs weighted by a random cotangent u", *report.notes)
    lines = report.lines
    if report.verdict == "wrong":
        _, doubled = by_rule(*rebuild(arrays), times=2.0)
        lines = _find_misused_cotangents(lines, once, doubled)

        def rule(u: Arrays) -> dict[str, Any]:
            def weighted(*given: Any) -> Any:
                return sum(jnp.sum(u[n].astype(o.dtype) * o) for n, o in _float_outputs(f(*given)).items())

            found = _differentiate_by_rule(f, weighted, traced, rebuild(arrays))[1]
            return {name[1:]: line.astype(np.float64) for name, line in found.items()}

        lines = explain_by_cotangents(lines, traced, jax.jit(rule))
    without_rule = traced.cost_again()
    if not abs(float(with_rule) - without_rule) <= 1e4 * traced.eps * max(abs(without_rule), 1.0):
        values = f"{float(with_rule):.9g} by the rule, not {without_rule:.9g}"
        diagnosis = f"fwd does not return the value of f: <u, f> is {values}"
        lines = Line("out", "wrong", None, None, "another value", diagnosis), *lines
    return dataclasses.replace(report, lines=lines, notes=notes)


def _names(f: Callable, args: tuple) -> tuple[str, ...]:
    return flatten_arguments(f, args[0], args[1:], numbers=False).names


def _weighted_output(f: Callable, seed: tuple[int, int], scale: float) -> Callable:
    """Return the function <u, f(*arguments)>, with the same random u, of this scale, at every call."""

    def weighted(*arguments: Any, tap: Callable = lambda name, value: value) -> Any:
        outputs = [tap(name, o) for name, o in _float_outputs(f(*arguments)).items()]
        if not outputs:
            raise ValueError("f has no floating-point output, so its rule has no cotangent; expected at least one")
        rng = np.random.default_rng((SEED, *seed))
        return sum(jnp.sum(jnp.asarray(scale * rng.normal(size=o.shape), o.dtype) * o) for o in outputs)

    return weighted


def _float_outputs(outputs: Any) -> dict[str, Any]:
    """Name each floating-point output by its place: out, out[1], out["sum"]."""
    paths, _ = jax.tree_util.tree_flatten_with_path(outputs)
    named = {f"out{jax.tree_util.keystr(path)}".replace("'", '"'): jnp.asarray(o) for path, o in paths}
    return {name: o for name, o in named.items() if is_float(o)}


def _differentiate_by_rule(
    f: Callable, weighted: Callable, traced: TracedCost, arguments: tuple
) -> tuple[Any, dict[str, Any]]:
    """Return <u, f> as the forward pass of the rule computes it, and the lines by the rule."""
    graph = traced.graph
    arrays = flatten_arguments(f, arguments[0], arguments[1:], numbers=False).arrays
    active = {name: jnp.asarray(arrays[place]) for name, place in graph.roots.items()}

    def output_at(active: dict) -> Any:
        return weighted(*traced.arguments.rebuild(graph.with_roots(arrays, active)))

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
