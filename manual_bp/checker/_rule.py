"""A custom rule as a backward pass: the derivative of <u, f> by the rule, with the cotangent u as an argument."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from manual_bp.checker._report import Report
from manual_bp.checker._report_line import Line
from manual_bp.checker.graph.arguments import COTANGENT, Arguments, is_float
from manual_bp.checker.graph.cost_graph import CostGraph
from manual_bp.checker.graph.jaxpr_walk import CUSTOM_JVP, CUSTOM_VJP, primitives_inside
from manual_bp.checker.judge.norms import relative_error
from manual_bp.checker.judge.raised_error import NOT_DIFFERENTIABLE, UNTRACEABLE, lines_before_error
from manual_bp.checker.judge.rounding import coarsest_eps_inside
from manual_bp.checker.judge.traced_cost import TracedCost, has_narrow_floats, trace_at

Shapes = dict[str, tuple[int, ...]]  # of the floating-point outputs, by name
OTHER_SHAPES = "the outputs of f, its forward pass and its surrogate must have the same shapes; expected"
NOT_LINEAR = "not linear in the tangents"


class Rule(NamedTuple):
    """A rule traced at some arguments, of which the cotangents of the outputs are the last.

    `traced` is <u, f> without the rule. `differentiate(arrays)` returns the outputs of its forward pass and the
    derivatives of <u, f>. `outputs(arrays)` are those of f undifferentiated, if they are not those of `traced`.
    """

    traced: TracedCost
    differentiate: Callable[[Sequence], tuple[dict[str, Any], dict[str, Any]]]
    outputs: Callable[[Sequence], dict[str, Any]] | None

    def with_cotangents(self, arrays: Sequence, rng: np.random.Generator, scale: float) -> "Rule":
        """Return the rule at other arrays of the same shapes, with new cotangents."""
        arguments = self.traced.arguments
        as_traced = [
            np.asarray(a).astype(b.dtype) if is_float(a) else a for a, b in zip(arrays, arguments.arrays, strict=False)
        ]
        cotangents = [scale * rng.normal(size=u.shape) for u in arguments.arrays[len(arrays) :]]
        arguments = arguments._replace(arrays=[*as_traced, *cotangents])
        return self._replace(traced=self.traced._replace(arguments=arguments))

    def with_doubled_cotangents(self) -> list:
        number, arrays = len(self.traced.arguments.params), self.traced.arguments.arrays
        return [*arrays[:number], *(2 * u for u in arrays[number:])]

    def lines_of(self, cotangents: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return the lines by the rule for other cotangents, each by the name of its output."""
        names, arrays = self.traced.arguments.names, self.traced.arguments.arrays
        given = {COTANGENT + name: u for name, u in cotangents.items()}
        found = self.differentiate([given.get(n, a) for n, a in zip(names, arrays, strict=True)])[1]
        return {name[1:]: line.astype(np.float64) for name, line in found.items()}

    def backward(self, *arguments: Any) -> dict[str, Any]:
        """Return the lines by the rule, as a backward pass does."""
        leaves = jax.tree.leaves(arguments)
        return self.differentiate([a for a in leaves if isinstance(a, jax.Array | np.ndarray | np.generic)])[1]


def trace_rule(f: Callable, surrogate: Callable | None, given: Arguments, rng: np.random.Generator) -> Rule | Report:
    """Trace f with and without its rule; where JAX refuses the rule, return the report on that."""
    found = _trace(f, surrogate, given, rng, as_given=False)
    return _trace(f, surrogate, given, rng, True) if isinstance(found, Report) and has_narrow_floats(given) else found


def _trace(
    f: Callable, surrogate: Callable | None, given: Arguments, rng: np.random.Generator, as_given: bool
) -> Rule | Report:
    arguments, shapes = _with_cotangents(f, given, rng)
    traced = _trace_without_rule(surrogate or f, arguments, shapes, as_given, surrogate is not None)
    by_rule = _weighted_output(f, shapes)
    graph, arguments = traced.graph, traced.arguments

    def value_and_outputs(active: dict, arrays: Sequence) -> tuple[Any, dict[str, Any]]:
        outputs, given = dict[str, Any](), arguments.rebuild(graph.with_roots(arrays, active))
        return by_rule(*given, tap=lambda name, o: outputs.setdefault(name, o)), outputs

    def value_at(active: dict, arrays: Sequence) -> Any:
        return value_and_outputs(active, arrays)[0]

    def differentiate(arrays: Sequence) -> tuple[dict[str, Any], dict[str, Any]]:
        active = {n: arrays[graph.roots[n]] for n in graph.params}
        found, outputs = jax.grad(value_and_outputs, has_aux=True)(active, arrays)
        return outputs, {"d" + name: line for name, line in found.items()}

    compiled, refused = jax.jit(differentiate), None
    try:
        if CUSTOM_JVP <= graph.into and not _is_linear(value_at, graph, arguments.arrays):
            refused = NOT_LINEAR, "its tangent does not double with the tangents of the arguments, as every jvp must"
        try:
            # a rule may compute in less than the function does
            inside = coarsest_eps_inside(compiled.trace(arguments.arrays).jaxpr)
            traced = traced._replace(eps=max(traced.eps, inside))
        except jax.errors.TracerArrayConversionError:  # a rule in NumPy
            compiled = differentiate
            differentiate(arguments.arrays)
    except Exception as error:
        if any(part in str(error) for part in NOT_DIFFERENTIABLE):
            raise ValueError(f"JAX cannot differentiate f, even with its rule: {error}") from None
        refused = refused or _mistake_of(error)
    if refused:
        line = Line("the rule", "wrong", None, None, *refused)
        return Report((line,), (), (), traced.precision, traced.cost_again())
    outputs = jax.jit(lambda arrays: value_and_outputs({}, arrays)[1]) if surrogate else None
    return Rule(traced, compiled, outputs)


def _with_cotangents(f: Callable, given: Arguments, rng: np.random.Generator) -> tuple[Arguments, Shapes]:
    """Append a random cotangent for each floating-point output of f to its arguments; return the shapes too."""
    number = len(given.arrays)
    try:
        outputs = jax.eval_shape(lambda arrays: _float_outputs(f(*given.rebuild(arrays))), given.arrays)
    except UNTRACEABLE as error:
        advice = "write jnp for np, jnp.where for an if, or put NumPy into a jax.pure_callback"
        sentence = lines_before_error(error, [], "f")[2].splitlines()[0]
        raise TypeError(f"JAX cannot trace f, so that it can have no rule; {advice}: {sentence}") from None
    if not outputs:
        raise ValueError("f has no floating-point output, so its rule has no cotangent; expected at least one")
    shapes = {name: o.shape for name, o in outputs.items()}
    arrays = [*given.arrays, *(rng.normal(size=shape) for shape in shapes.values())]
    names = (*given.names, *(COTANGENT + name for name in shapes))

    def rebuild(arrays: Sequence) -> tuple:
        return *given.rebuild(arrays[:number]), list(arrays[number:])

    # the arguments of a function with a rule are all alike
    return Arguments(arrays, names, given.names, rebuild, given.numbers), shapes


def _trace_without_rule(
    f: Callable, arguments: Arguments, shapes: Shapes, as_given: bool, is_surrogate: bool
) -> TracedCost:
    cost = _weighted_output(f, shapes)
    traced = trace_at(cost, arguments, as_given, frozenset() if is_surrogate else CUSTOM_VJP)
    inside = primitives_inside(traced.graph.jaxpr.jaxpr)
    if is_surrogate or CUSTOM_VJP & inside:
        return traced
    if CUSTOM_JVP & inside:
        return trace_at(cost, arguments, as_given, CUSTOM_VJP | CUSTOM_JVP)
    advice = "use check_gradients for the gradient of a cost, and order=2 for the derivative of a rule"
    raise ValueError(f"f has no custom_vjp in it, nor a custom_jvp, so there is no rule to check; {advice}")


def _mistake_of(error: Exception) -> tuple[str, str]:
    """Name the mistake for which JAX refuses a rule."""
    text = str(error)
    # the gradient is the transpose of the tangent rule, and what is not linear has none
    if isinstance(error, NotImplementedError) and "Transpose rule" in text:
        return NOT_LINEAR, f"JAX cannot transpose it: {text}"
    if any(part in text for part in (" bwd rule ", " fwd rule ", OTHER_SHAPES)):
        return "wrong shape", f"JAX refuses what it returns: {text}"
    return "raised", lines_before_error(error, [], "the rule")[2]


def _is_linear(value_at: Callable, graph: CostGraph, arrays: list) -> bool:
    """Return whether the tangent doubles with those of the arguments."""
    rng, active = np.random.default_rng(0), {n: arrays[graph.roots[n]] for n in graph.params}
    v = {n: jnp.asarray(rng.normal(size=a.shape), a.dtype) for n, a in active.items()}

    def tangent(times: float, active: dict, arrays: list) -> Any:
        tangents = jax.tree.map(lambda a: (times * a).astype(a.dtype), v)
        return jax.jvp(lambda active: value_at(active, arrays), (active,), (tangents,))[1]

    def tangents(tangent: Callable) -> list[np.ndarray]:
        return [np.asarray(tangent(times, active, arrays), np.float64) for times in (1.0, 2.0)]

    try:
        once, twice = tangents(jax.jit(tangent))
    except jax.errors.TracerArrayConversionError:  # a rule in NumPy
        once, twice = tangents(tangent)
    eps = max(float(jnp.finfo(a.dtype).eps) for a in v.values())
    return bool(relative_error(twice, 2 * once) <= eps**0.5)


def _weighted_output(f: Callable, shapes: Shapes) -> Callable:
    """Return the function <u, f(*arguments)>, with the list of the cotangents u as its last argument."""

    def weighted(*arguments: Any, tap: Callable = lambda name, value: value) -> Any:
        *args, cotangents = arguments
        outputs = _float_outputs(f(*args))
        if (got := {name: o.shape for name, o in outputs.items()}) != shapes:
            raise ValueError(f"{OTHER_SHAPES} {shapes}; got {got}")
        outputs = [tap(name, outputs[name]) for name in shapes]
        return sum(jnp.sum(u.astype(o.dtype) * o) for u, o in zip(cotangents, outputs, strict=True))

    return weighted


def _float_outputs(tree: Any) -> dict[str, Any]:
    """Name each floating-point output by its place: out, out[1], out["sum"]."""
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    named = {f"out{jax.tree_util.keystr(path)}".replace("'", '"'): o for path, o in paths}
    numbers = {n: o for n, o in named.items() if isinstance(o, jax.Array | np.ndarray | np.generic | float)}
    if any(jnp.iscomplexobj(o) for o in numbers.values()):
        raise TypeError("f has a complex output; expected real ones, such as its real and its imaginary part")
    return {n: jnp.asarray(o) for n, o in numbers.items() if is_float(jnp.asarray(o))}
