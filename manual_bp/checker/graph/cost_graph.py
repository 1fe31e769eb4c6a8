"""The graph of a cost: its nodes and arguments, and which of them feeds which.

A node is an intermediate at which the graph can be cut. The nodes include the weighted input and the activation around
each product with a parameter, tapped or not, so a mistake always lies between two nodes.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.extend import core

from manual_bp.checker.graph.arguments import COTANGENT, Arguments, is_float
from manual_bp.checker.graph.jaxpr_walk import (
    CALLS,
    CUSTOM_JVP,
    CUSTOM_VJP,
    functions_of_custom_jvp,
    primitives_inside,
    walk,
)
from manual_bp.checker.graph.nodes import Node, call_with_tap, find_nodes, recording_tap

COST = "the cost"


class CostGraph(NamedTuple):
    """The nodes in forward order, the roots (parameters and arguments), and the direct successors of each."""

    jaxpr: Any
    inputs: tuple[str, ...]
    nodes: dict[str, Node]
    roots: dict[str, int]  # the position of each floating-point root among the inputs
    params: tuple[str, ...]
    successors: dict[str, tuple[str, ...]]
    into: frozenset[str]  # the calls whose equations are part of the graph

    @property
    def of_rule(self) -> bool:
        """Return whether it is the graph of <u, f>, for a function f with a rule."""
        return any(name.startswith(COTANGENT) for name in self.inputs)

    def backward_order(self) -> list[str]:
        """List the nodes from the cost back, each followed by the roots that feed it and no node after it."""
        nodes = list(reversed(self.nodes))
        place = {name: i for i, name in enumerate([COST, *nodes])}
        last = {root: max((place[s] for s in self.successors[root]), default=0) for root in self.roots}
        order = [r for r in self.roots if last[r] == 0]
        for i, node in enumerate(nodes, 1):
            order += [node, *(r for r in self.roots if last[r] == i)]
        return order

    def with_roots(self, arrays: Sequence, roots: Mapping[str, Any]) -> list:
        """Return the inputs with the arrays of some roots replaced."""
        replaced = {self.roots[name]: array for name, array in roots.items()}
        return [replaced.get(i, array) for i, array in enumerate(arrays)]

    def descendants(self, node: str) -> set[str]:
        """Return every line computed from the line of a node, directly or not."""
        return self._following(node, ())[0]

    def returned_descendants(self, node: str, returned: Collection[str]) -> set[str]:
        """Return the first returned lines on each way from a node to the roots."""
        return self._following(node, returned)[1]

    def _following(self, node: str, ends: Collection[str]) -> tuple[set[str], set[str]]:
        """Return the lines that follow from a node, through none in `ends`, and those in `ends` next to them."""
        passed, ended = {node}, set[str]()
        for name in self.backward_order():  # a line comes after those that it is computed from
            if not passed.isdisjoint(self.successors[name]):
                (ended if name in ends else passed).add(name)
        return passed - {node}, ended

    def depth(self, name: str) -> int:
        """Count the steps from the cost back to a node or root, along the longest way."""
        depths = {COST: 0}
        for n in [*reversed(self.nodes), name]:
            depths[n] = 1 + max((depths[s] for s in self.successors[n] if s in depths), default=0)
        return depths[name]


def build_graph(cost: Callable, arguments: Arguments, through: frozenset[str] = frozenset()) -> CostGraph:
    """Trace the cost once and find its nodes.

    A function with a custom rule is entered, and its rule ignored, if `through` has the rule's primitive.
    """
    into = CALLS | through
    called: list[str] = []
    closed = trace_jaxpr(cost, arguments, called)
    outputs: list[Any] = list(closed.out_avals)
    if len(outputs) != 1 or outputs[0].shape != () or not is_float(outputs[0]):
        got = ", ".join(f"{a.dtype}{list(a.shape)}" for a in outputs)
        raise ValueError(f"cost must return one floating-point scalar; it returned {got or 'nothing'}")
    floats = {n: i for i, (n, a) in enumerate(zip(arguments.names, arguments.arrays, strict=True)) if is_float(a)}
    roots = {n: i for n, i in floats.items() if not n.startswith(COTANGENT)}
    params = tuple(n for n in arguments.params if n in roots)
    if not params:
        raise ValueError("params holds no floating-point array, so there is no gradient to check")
    for name in called:
        if name in arguments.names:
            clash = f'tap("{name}", ...) has the name of a parameter or an argument'
            raise ValueError(f"{clash}; give the intermediate its own name")
    nodes = find_nodes(closed, arguments.names, params, into)
    for name in called:
        if name not in nodes:
            raise ValueError(
                f'tap("{name}", ...) is called inside a loop, a branch or a custom rule of the cost (scan, while_loop, '
                "cond, custom_jvp, custom_vjp), or on an integer; tap only floating-point intermediates outside of them"
            )
    successors = _find_successors(closed, nodes, arguments.names, roots, into)
    return CostGraph(closed, arguments.names, nodes, roots, params, successors, into)


def trace_jaxpr(cost: Callable, arguments: Arguments, called: list[str]) -> Any:
    """Trace the cost, and append the names of its taps to `called`."""

    def traceable_cost(*arrays: Any) -> Any:
        return call_with_tap(cost, arguments.rebuild(arrays), recording_tap(called))

    return jax.make_jaxpr(traceable_cost)(*arguments.arrays)


def _find_successors(
    closed: Any, nodes: dict[str, Node], names: Sequence[str], roots: dict[str, int], into: frozenset[str]
) -> dict[str, tuple[str, ...]]:
    node_at = {node.equation: name for name, node in nodes.items()}
    fed: dict[str, list[str]] = {name: [] for name in [*roots, *nodes]}
    nothing: frozenset[str] = frozenset()

    def feed(sources: frozenset[str], name: str) -> None:
        for source in sources:
            fed[source].append(name)

    def visit(n: int, equation: Any, operands: list[frozenset[str]]) -> list[frozenset[str]]:
        sources = nothing if equation.primitive.name == "stop_gradient" else nothing.union(*operands)
        if n in node_at:
            feed(sources, node_at[n])
            return [frozenset({node_at[n]})]
        return [sources if is_float(v.aval) else nothing for v in equation.outvars]

    inputs = [frozenset({n}) if n in roots else nothing for n in names]
    feed(walk(closed, inputs, visit, into, lift=lambda _: nothing)[0], COST)
    return {name: tuple(fed[name]) for name in fed}


def rules_followed(graph: CostGraph) -> frozenset[str]:
    """Return the kinds of custom rules that autodiff of the cost follows, but for those of JAX's own functions."""
    inside = CUSTOM_VJP & primitives_inside(graph.jaxpr.jaxpr)
    own = (f for f in functions_of_custom_jvp(graph.jaxpr.jaxpr) if not f.startswith(str(Path(jax.__file__).parent)))
    return (inside | (CUSTOM_JVP if any(own) else frozenset())) - graph.into


def has_unreachable_rule(graph: CostGraph) -> bool:
    """Return whether a rule to ignore is inside something that the walk does not enter, such as a loop or a branch."""
    inside: set[str] = set()

    def visit(n: int, equation: Any, operands: list) -> list:
        inside.update(*map(primitives_inside, core.jaxprs_in_params(equation.params)))
        return equation.outvars

    walk(graph.jaxpr, graph.inputs, visit, graph.into)
    return bool((graph.into - CALLS) & inside)
