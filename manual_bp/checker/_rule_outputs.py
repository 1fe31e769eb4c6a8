"""The outputs of a rule's forward pass, which must be those of the function, up to rounding."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.linalg import norm

from manual_bp.checker._rule import Rule
from manual_bp.checker.judge.error_bounds import SAFETY
from manual_bp.checker.judge.norms import relative_error
from manual_bp.checker.judge.rounding import rounding_distances

WEIGHTED = "<u, f>"


def differing_output(rule: Rule, by_rule: Mapping[str, Any], cost: float, known: bool) -> str:
    """Say which output of the forward pass is not that of f, or return "".

    `cost` is <u, f>; unless the outputs of f are `known`, nothing else is.
    """
    traced, eps = rule.traced, rule.traced.eps
    arrays, nodes = traced.arguments.arrays, traced.graph.nodes.keys()
    found = _as_float64(by_rule)
    sizes, cut = {}, None
    if rule.outputs:
        true = _as_float64(rule.outputs(arrays))
    elif known and found.keys() <= nodes:
        cut = traced.cut_for(traced.graph.params)
        true = cut(arrays).node_values
    else:
        weights = [np.asarray(u, np.float64) for u in arrays[len(arrays) - len(found) :]]
        products = [u * o for u, o in zip(weights, found.values(), strict=True)]
        sizes = {WEIGHTED: float(np.sqrt(sum(norm(p) ** 2 for p in products)))}
        found, true = {WEIGHTED: np.asarray(sum(p.sum() for p in products))}, {WEIGHTED: np.asarray(cost)}
    # a function that is itself an approximation differs by more than an eps of float64
    relative, least = (1e4 * eps, 1.0) if eps < 1e-10 else (64 * eps, 0.0) if eps < 1e-6 else (4 * eps, 0.0)
    bounds = {n: relative * max(sizes.get(n, norm(true[n])), least if cut is None else 0.0) for n in found}
    with np.errstate(all="ignore"):
        distances = {n: relative_error(found[n], true[n]) and norm(found[n] - true[n]) for n in found}
    off = [n for n in found if not distances[n] <= bounds[n]]
    if off and cut:  # an output can be what terms that cancel have left
        moves = rounding_distances(cut, arrays, eps, of_values=True)
        off = [n for n in off if not distances[n] <= SAFETY * moves[n].distance]
    if not off:
        return ""
    n = off[0]
    at = int(np.argmax(np.nan_to_num(abs(found[n] - true[n]), nan=np.inf)))
    where = f"{n}{[int(i) for i in np.unravel_index(at, found[n].shape)]}" if found[n].ndim else n
    values = f"{where} is {found[n].flat[at]:.9g} by the rule, not {true[n].flat[at]:.9g}"
    return f"the forward pass of the rule does not return the value of f: {values}"


def _as_float64(outputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {n: np.asarray(o, np.float64) for n, o in outputs.items()}
