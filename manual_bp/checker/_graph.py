"""A cost seen as a graph: its intermediates, and which of them feeds which.

A node is an intermediate at which the graph can be cut: one that the cost names with tap, and, where it names none,
the weighted input and the activation on either side of a product with a parameter. A mistake made between two lines
of a backward pass is then still found between two nodes.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.extend import core

from manual_bp.checker._inputs import Inputs, is_float
from manual_bp.checker._nodes import TAP, Node, find_nodes
from manual_bp.checker._tap import call_with_tap
from manual_bp.checker._walk import CALLS, CUSTOM_VJP, names_inside, walk

COST = "the cost"


class Graph(NamedTuple):
    """Nodes in forward order, roots (parameters and arguments) in theirs, and what each of them feeds directly."""

    jaxpr: Any
    inputs: tuple[str, ...]
    nodes: dict[str, Node]
    roots: dict[str, int]  # the place of each floating-point root among the inputs
    params: tuple[str, ...]
    successors: dict[str, tuple[str, ...]]
    into: frozenset[str]  # the calls that are part of the graph

    def backward_order(self) -> list[str]:
        """Nodes from the cost back, each followed by the roots that nothing before it in this order feeds."""
        nodes = list(reversed(self.nodes))
        place = {name: i for i, name in enumerate([COST, *nodes])}
        last = {root: max((place[s] for s in self.successors[root]), default=0) for root in self.roots}
        order = [r for r in self.roots if last[r] == 0]
        for i, node in enumerate(nodes, 1):
            order += [node, *(r for r in self.roots if last[r] == i)]
        return order

    def descendants(self, node: str, returned: Collection[str]) -> set[str]:
        """The returned lines that follow from a node's line, by way of lines that were not returned only."""
        found: set[str] = set()
        for child, fed in self.successors.items():
            if node in fed:
                found |= {child} if child in returned else self.descendants(child, returned)
        return found

    def followers(self, node: str) -> set[str]:
        """Every line that a node's line goes into."""
        found: set[str] = set()
        for child, fed in self.successors.items():
            if node in fed:
                found |= {child} | self.followers(child)
        return found

    def depth(self, name: str) -> int:
        """The number of steps from the cost back to a node or root, by the longest way."""
        depths = {COST: 0}
        for n in [*reversed(self.nodes), name]:
            depths[n] = 1 + max((depths[s] for s in self.successors[n] if s in depths), default=0)
        return depths[name]


def graph_of(cost: Callable, inputs: Inputs, through_rules: bool = False) -> Graph:
    """Trace the cost once and find its nodes.

    With `through_rules` a custom_vjp in it is what its function computes, and its rule is left aside.
    """
    into = CALLS | CUSTOM_VJP if through_rules else CALLS
    called: list[str] = []

    def tap(name: str, value: Any) -> Any:
        if not isinstance(name, str):
            raise TypeError(f'tap takes the name first, tap("Z1", Z1); got {type(name).__name__}')
        if name in called:
            raise ValueError(
                f'tap("{name}", ...) is called twice in one evaluation of the cost; give each its own name'
            )
        called.append(name)
        return checkpoint_name(jnp.asarray(value), TAP + name)

    def of_arrays(*arrays: Any) -> Any:
        return call_with_tap(cost, inputs.rebuild(arrays), tap)

    try:
        closed = jax.make_jaxpr(of_arrays)(*inputs.arrays)
    except jax.errors.TracerArrayConversionError as error:
        raise TypeError("the cost has to be written in JAX: a NumPy function in it cannot be traced") from error
    outputs: list[Any] = list(closed.out_avals)
    if len(outputs) != 1 or outputs[0].shape != () or not is_float(outputs[0]):
        got = ", ".join(f"{a.dtype}{list(a.shape)}" for a in outputs)
        raise ValueError(f"cost must return one floating-point scalar; it returned {got or 'nothing'}")
    roots = {n: i for i, (n, a) in enumerate(zip(inputs.names, inputs.arrays, strict=True)) if is_float(a)}
    # the arguments of a function with a rule are all alike
    params = tuple(
        n for n, p in zip(inputs.names, inputs.of_params, strict=True) if (p or through_rules) and n in roots
    )
    if not params:
        raise ValueError("params holds no floating-point array, so there is no gradient to check")
    clash = [name for name in called if name in inputs.names]
    if clash:
        raise ValueError(f'tap("{clash[0]}", ...) has the name of a parameter or an argument; give it one of its own')
    nodes = find_nodes(closed, inputs.names, params, into)
    hidden = [name for name in called if name not in nodes]
    if hidden:
        raise ValueError(
            f'tap("{hidden[0]}", ...) is called inside a loop, a branch or a custom rule of the cost (scan, '
            "while_loop, cond, custom_jvp, custom_vjp), or on an integer; name intermediates outside of those"
        )
    return Graph(
        closed, inputs.names, nodes, roots, params, _successors(closed, nodes, inputs.names, roots, into), into
    )


def _successors(
    closed: Any, nodes: dict[str, Node], names: Sequence[str], roots: dict[str, int], into: frozenset[str]
) -> dict[str, tuple[str, ...]]:
    at = {node.equation: name for name, node in nodes.items()}
    fed: dict[str, list[str]] = {name: [] for name in [*roots, *nodes]}
    nothing: frozenset[str] = frozenset()

    def feed(sources: frozenset[str], name: str) -> None:
        for source in sources:
            fed[source].append(name)

    def step(n: int, equation: Any, values: list[frozenset[str]]) -> list[frozenset[str]]:
        sources = nothing if equation.primitive.name == "stop_gradient" else nothing.union(*values)
        if n in at:
            feed(sources, at[n])
            return [frozenset({at[n]})]
        return [sources if is_float(v.aval) else nothing for v in equation.outvars]

    inputs = [frozenset({n}) if n in roots else nothing for n in names]
    feed(walk(closed, inputs, step, into, lift=lambda _: nothing)[0], COST)
    return {name: tuple(fed[name]) for name in fed}


def has_custom_vjp(graph: Graph) -> bool:
    return bool(CUSTOM_VJP & names_inside(graph.jaxpr.jaxpr))


def has_rule_out_of_reach(graph: Graph) -> bool:
    """Whether a custom_vjp stands inside something that is not walked through, a loop or a branch."""
    found = []

    def step(n: int, equation: Any, values: list) -> list:
        found.extend(names_inside(inner) for inner in core.jaxprs_in_params(equation.params))
        return [None for _ in equation.outvars]

    walk(graph.jaxpr, [None] * len(graph.inputs), step, graph.into, lift=lambda _: None)
    return any(CUSTOM_VJP & names for names in found)
