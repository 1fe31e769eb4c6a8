"""A cost traced once, with the programs compiled from it, for any number of backward passes to be checked against."""

import functools
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import numpy as np

from manual_bp.checker.graph.arguments import Arguments, flatten_arguments, is_float
from manual_bp.checker.graph.cost_graph import CostGraph, build_graph, trace_jaxpr
from manual_bp.checker.graph.jaxpr_walk import same_program
from manual_bp.checker.graph.nodes import call_with_tap
from manual_bp.checker.judge.cut_graph import CutGraph
from manual_bp.checker.judge.kinks import kink_differences, units_at_a_kink
from manual_bp.checker.judge.rounding import coarsest_eps


class TracedCost(NamedTuple):
    """A cost traced at some arguments.

    `cut(roots)` makes a `CutGraph`, and `count_kinks(eps, arrays)` counts units. Each is compiled once. `may_differ()`
    says whether another evaluation could give another cost, because another trace or Python could.
    """

    cost: Callable
    arguments: Arguments
    graph: CostGraph
    eps: float
    cut: Callable[..., CutGraph]
    count_kinks: Callable
    may_differ: Callable[[], bool]

    @property
    def precision(self) -> str:
        return "float64" if self.eps < 1e-10 else "float32" if self.eps < 1e-6 else "less than float32"

    def names(self) -> list[str]:
        """List everything that can have a line, the parameters first and in the order of the leaves of params."""
        integers = (n for n, value in self.arguments.numbers.items() if isinstance(value, int))
        return list(dict.fromkeys([*self.arguments.params, *self.graph.nodes, *self.arguments.names, *integers]))

    def cut_for(self, names: Collection[str]) -> CutGraph:
        """Return the graph cut at every node, with the derivatives by the parameters or, if need be, by all roots."""
        roots = self.graph.roots.keys() & names
        return self.cut(self.graph.params if roots <= set(self.graph.params) else tuple(self.graph.roots))

    def cost_again(self) -> float:
        def of_arrays(arrays: list) -> Any:
            return call_with_tap(self.cost, self.arguments.rebuild(arrays), lambda name, value: value)

        return float(jax.jit(of_arrays)(self.arguments.arrays))


def trace_cost(cost: Callable, params: Any, args: tuple, as_given: bool = False) -> TracedCost:
    """Trace the cost in float64 where it allows that, or `as_given`."""
    return trace_at(cost, flatten_arguments(cost, params, args), as_given)


def trace_at(
    cost: Callable, given: Arguments, as_given: bool = False, through: frozenset[str] = frozenset()
) -> TracedCost:
    """Trace the cost at these arguments; rules whose primitive is in `through` are ignored."""
    try:
        return _traced(cost, given if as_given else given.cast(np.float64), through)
    except Exception:
        if as_given or not has_narrow_floats(given):
            raise
        return _traced(cost, given, through)


def around_rules(traced: TracedCost, through: frozenset[str]) -> TracedCost | None:
    """Trace the cost with the functions that have such rules in place of the rules, if autodiff can take them."""
    try:
        around = _traced(traced.cost, traced.arguments, through)
        around.cut_for(around.graph.params)(around.arguments.arrays)
    except Exception:
        return None
    return around


def _traced(cost: Callable, arguments: Arguments, through: frozenset[str]) -> TracedCost:
    graph = build_graph(cost, arguments, through)
    cut = functools.cache(functools.partial(CutGraph, graph))
    differences = jax.jit(functools.partial(kink_differences, graph), static_argnums=0)
    count_kinks = functools.partial(units_at_a_kink, differences, graph.params)
    may_differ = functools.cache(lambda: not same_program(trace_jaxpr(cost, arguments, []), graph.jaxpr))
    return TracedCost(cost, arguments, graph, coarsest_eps(graph), cut, count_kinks, may_differ)


def has_narrow_floats(arguments: Arguments) -> bool:
    return any(is_float(a) and a.dtype != np.float64 for a in arguments.arrays)
