"""Lines whose true derivative is 0: those cut off by stop_gradient, and those of which the cost takes only steps."""

from typing import Any, NamedTuple

from manual_bp.checker.graph.arguments import is_float
from manual_bp.checker.graph.cost_graph import COST, CostGraph
from manual_bp.checker.graph.jaxpr_walk import walk

COMPARISONS = dict.fromkeys("gt ge lt le eq ne".split(), "a comparison")
STEPS = COMPARISONS | {name: name for name in "round floor ceil sign argmax argmin".split()}


class _Sources(NamedTuple):
    """The roots that a value follows smoothly, and those that it follows by a step, each with the step's name."""

    smooth: frozenset[str] = frozenset()
    by_steps: frozenset[tuple[str, str]] = frozenset()


def reaches_cost(graph: CostGraph, name: str) -> bool:
    """Return whether a derivative flows to a line from the cost, on a way that no stop_gradient cuts."""
    reached = {name, *graph.successors[name]}
    for node in graph.nodes:  # in forward order
        reached.update(graph.successors[node] if node in reached else ())
    return COST in reached


def roots_behind_steps(graph: CostGraph) -> dict[str, str]:
    """Name the steps, such as "round", behind which all of a root lies, by root."""

    def visit(n: int, equation: Any, operands: list[_Sources]) -> list[_Sources]:
        sources = _Sources(*(frozenset().union(*found) for found in zip(*operands, strict=True)))
        kind = equation.primitive.name
        if kind in STEPS or not any(is_float(v.aval) for v in equation.outvars):
            name = STEPS.get(kind, "a conversion to integers")
            sources = _Sources(by_steps=sources.by_steps | {(root, name) for root in sources.smooth})
        return [sources] * len(equation.outvars)

    inputs = [_Sources(frozenset({n} & graph.roots.keys())) for n in graph.inputs]
    cost = walk(graph.jaxpr, inputs, visit, graph.into, lift=lambda _: _Sources())[0]
    steps: dict[str, list[str]] = {}
    for root, name in sorted(cost.by_steps):
        if root not in cost.smooth:
            steps.setdefault(root, []).append(name)
    return {root: " and ".join(names) for root, names in steps.items()}
