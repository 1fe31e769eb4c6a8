"""The sentences below a report: the conventions that were accepted, and notes."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from manual_bp.checker.graph.arguments import COTANGENT, is_float
from manual_bp.checker.graph.cost_graph import rules_followed
from manual_bp.checker.judge.returned_lines import ReturnedLines
from manual_bp.checker.judge.rounding import eps_of_values
from manual_bp.checker.judge.traced_cost import TracedCost
from manual_bp.checker.judge.verdicts import Judgement


def join_lines(names: list[str]) -> str:
    return ", ".join("d" + n for n in names)


def conventions_of(traced: TracedCost, judgement: Judgement) -> Iterator[str]:
    nodes = traced.graph.nodes.keys()
    if deltas := sorted(judgement.transposed & nodes):
        yield f"rows for columns: {join_lines(deltas)}, transposed relative to the cost's intermediates"
    if gradients := sorted(judgement.transposed - nodes):
        yield f"weights stored transposed: {join_lines(gradients)}, relative to the parameters"
    if judgement.weights is not None:
        yield "the examples' weights are taken at dW and db: dZ and dA are derivatives of each example's own loss"
    if judgement.scale != 1:
        text = f"m = {judgement.m}" if judgement.scale == judgement.m else f"{judgement.scale:.6g}"
        yield f"the average is taken at dW and db: dZ and dA are {text} times the derivative of the cost"


def notes_of(traced: TracedCost, returned: ReturnedLines, after: list, judgement: Judgement) -> Iterator[str]:
    graph, arguments = traced.graph, traced.arguments
    if not np.isfinite(judgement.cost):
        yield f"the cost is {judgement.cost} here"
    if returned.raised:
        yield "backward raised an error; only the lines computed before it are judged"
    triples = zip(arguments.names, arguments.arrays, after, strict=True)
    if changed := [n for n, a, b in triples if a is not b and not np.array_equal(a, b, equal_nan=is_float(a))]:
        yield f"backward changed {', '.join(changed)} in place, so its later lines do not use the values of the cost"
    narrow: dict[str, list[str]] = {}
    for n in judgement.found:
        if float(jnp.finfo(dtype := returned.found[n].dtype).eps) > traced.eps:
            narrow.setdefault(str(dtype), []).append(n)
    for dtype, names in narrow.items():
        yield f"{join_lines(names)}: computed in {dtype}, and judged at that precision"
    own = eps_of_values({n: returned.found[n] for n in judgement.found})
    if coarse := [n for n, eps in own.items() if eps > traced.eps and returned.found[n].dtype == np.float64]:
        yield f"{join_lines(coarse)}: all values are exact in a narrower dtype, so they are judged as computed in it"
    missing = [n for n in graph.params if n not in returned.found and f"d{n}" not in returned.faults]
    if missing and not returned.raised:
        yield f"not returned, so not judged: {join_lines(missing)}"
    pairs = zip(arguments.names, arguments.arrays, strict=True)
    square = [n for n, a in pairs if _has_equal_sizes(a.shape) and not n.startswith(COTANGENT)]
    if square and set(judgement.verdicts.values()) == {"right"}:
        sizes = "a sum or a loop over the wrong one of them, or division by the wrong size, is not seen here"
        yield f"{', '.join(square)}: axes of equal size; {sizes}, so check with sizes that differ too"
    for kind in sorted(rules_followed(graph)):
        kind = kind.removesuffix("_call")
        yield f"the cost contains a {kind}, whose rule autodiff follows; check_custom_vjp checks the rule itself"


def _has_equal_sizes(shape: tuple[int, ...]) -> bool:
    long = [n for n in shape if n > 1]
    return len(set(long)) < len(long)
