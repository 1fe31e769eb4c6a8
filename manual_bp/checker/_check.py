"""The check of a backward pass against its cost: by autodiff or, where that is not possible, by differences."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from manual_bp.checker._by_differences import report_by_differences
from manual_bp.checker._one_pass import call_on, check_options, report_on
from manual_bp.checker._precision import in_float64
from manual_bp.checker._report import Report
from manual_bp.checker._rules_in_costs import report_on_rules
from manual_bp.checker._second_point import judge_elsewhere
from manual_bp.checker.graph.arguments import flatten_arguments
from manual_bp.checker.judge.raised_error import NOT_DIFFERENTIABLE, UNTRACEABLE, why_untraceable
from manual_bp.checker.judge.returned_lines import OWN_ORDER, read_lines
from manual_bp.checker.judge.traced_cost import TracedCost, has_narrow_floats, trace_cost

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
    is compared with a catalogue of mistakes. A line that fails only the first is "inherited". So is a line that follows
    from a wrong one that was not returned.

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
            It may also return (cost, gradients), and the gradients as a flat vector, in the order of ravel_pytree or of
            the keys of params, or as a tuple or list, if their shapes leave no doubt.
        params: a pytree of NumPy or JAX arrays.
        args: the other arguments of the cost. Arrays among them can have a line too.
        tolerance: the relative error, in norm, that a right line may have. The default depends on the dtype, the depth
            of the line and the longest sum: about 1e-14 in float64 and 1e-5 in float32 for a small network. In float64,
            a line with a larger error up to 1e-10 is "cannot tell" by default: one of the two functions may be an
            approximation.
        order: 2 to also judge the derivative of each right line along a random direction of params, as line d(dW1).
        finite_differences: also compare autodiff with central differences of the cost, extrapolated. If they differ,
            no line is called right.

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
    check_options(tolerance, order)
    return in_float64(functools.partial(_checked, cost, backward, params, args, tolerance, order, finite_differences))


def _checked(
    cost: Callable,
    backward: Callable,
    params: Any,
    args: tuple,
    tolerance: float | None,
    order: int,
    finite_differences: bool,
) -> Report:
    by_differences = functools.partial(report_by_differences, cost, backward, params, args, tolerance, order)
    try:
        traced = trace_cost(cost, params, args)
        call = call_on(traced, backward)
    except UNTRACEABLE as error:
        return by_differences(why_untraceable(error), traceable=False)
    if call[0].raised and has_narrow_floats(flatten_arguments(cost, params, args)):
        narrow = trace_cost(cost, params, args, as_given=True)
        again = call_on(narrow, backward)
        traced, call = (traced, call) if again[0].raised else (narrow, again)
    judge = functools.partial(report_on, tolerance=tolerance, order=order, finite_differences=finite_differences)
    try:
        report = judge(traced, backward, call)
        returned, after = call
        if report.verdict == "wrong" and returned.in_own_order:
            own_order = returned._replace(found=returned.in_own_order, in_own_order=None)
            reordered = functools.partial(_in_own_order, traced, backward)
            other = judge(traced, reordered, (own_order, after))
            if other.verdict != "wrong":
                report = dataclasses.replace(other, conventions=(*other.conventions, OWN_ORDER))
                returned, backward = own_order, reordered
    except ValueError as error:
        if not any(part in str(error) for part in NOT_DIFFERENTIABLE):
            raise
        return by_differences(str(error).splitlines()[0], traceable=True)
    report = report_on_rules(traced, report, lambda around: judge(around, backward))
    return judge_elsewhere(traced, report, returned, backward, tolerance)


def _in_own_order(traced: TracedCost, backward: Callable, *arguments: Any) -> dict[str, Any]:
    lines = read_lines(backward(*arguments), arguments[0], traced.names()).in_own_order or {}
    return {"d" + name: line for name, line in lines.items()}
