"""A cost made ready: traced, with what is compiled of it kept for every backward pass that is checked against it."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from manual_bp.checker._cut import Cut
from manual_bp.checker._graph import Graph, graph_of
from manual_bp.checker._inputs import Inputs, is_float, take_apart
from manual_bp.checker._resolution import eps_of, units_at_a_kink
from manual_bp.checker._tap import call_with_tap


class Prepared(NamedTuple):
    """A cost traced at some inputs. `cuts(nodes, roots)` and `kinks(eps, arrays)` are compiled once each."""

    cost: Callable
    inputs: Inputs
    graph: Graph
    eps: float
    cuts: Callable[..., Cut]
    kinks: Callable

    def names(self) -> list[str]:
        """What a line can be of: the parameters first, in the order of params' leaves."""
        params = [n for n, p in zip(self.inputs.names, self.inputs.of_params, strict=True) if p]
        return list(dict.fromkeys([*params, *self.graph.nodes, *self.graph.roots]))

    def full_cut(self) -> Cut:
        return self.cuts(tuple(self.graph.nodes), tuple(self.graph.roots))

    def cost_again(self) -> float:
        return float(call_with_tap(self.cost, self.inputs.copies(), lambda name, value: value))


def prepare(
    cost: Callable,
    params: Any,
    args: tuple,
    as_given: bool = False,
    through_rules: bool = False,
    named_after: Callable | None = None,
) -> Prepared:
    """Trace the cost, in float64 where it allows that and is not to be taken as given.

    Arguments have the names of `named_after`, the cost itself unless given.
    """
    given = take_apart(named_after or cost, params, args, numbers=not through_rules)
    inputs = given if as_given else given.cast(np.float64)
    try:
        graph = graph_of(cost, inputs, through_rules)
    except Exception:
        if as_given or not is_narrow(given):
            raise
        inputs = given
        graph = graph_of(cost, inputs, through_rules)
    cuts = functools.cache(functools.partial(Cut, graph))
    return Prepared(
        cost, inputs, graph, eps_of(graph), cuts, jax.jit(functools.partial(units_at_a_kink, graph), static_argnums=0)
    )


def is_narrow(inputs: Inputs) -> bool:
    return any(is_float(a) and a.dtype != np.float64 for a in inputs.arrays)
