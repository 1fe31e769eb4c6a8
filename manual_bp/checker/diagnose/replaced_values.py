"""A factor in the derivative of a product or quotient that is missing, taken twice, or replaced by another value."""

import functools
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from manual_bp.checker.diagnose.evidence import Evidence, Finding
from manual_bp.checker.diagnose.factor_products import MISSING
from manual_bp.checker.diagnose.known_factors import index_arrays
from manual_bp.checker.diagnose.scaled_paths import ScaledPaths
from manual_bp.checker.diagnose.source_lines import describe_source, describe_value
from manual_bp.checker.graph.arguments import is_float
from manual_bp.checker.graph.cost_graph import CostGraph
from manual_bp.checker.graph.jaxpr_walk import apply_equation, walk
from manual_bp.checker.graph.places import Place, calls_in_order
from manual_bp.checker.judge.cut_graph import Arrays

MOST_RUNS = 600
REPLACED, TWICE, SET = "another value", "factor twice", "set for add"


class Replacement(NamedTuple):
    """The finding if one factor is replaced, and the lines that this leads to."""

    finding: Finding
    lines: Arrays


class _Value(NamedTuple):
    name: str
    array: np.ndarray


def replacement_finder(paths: ScaledPaths) -> Callable[[Collection[str], Collection[str]], Iterator[Replacement]]:
    """Return a function that replaces factors on the paths to all of some wrong lines and to none of the right ones.

    It replaces the other factor of each product or quotient by 1, by its square and by every other value.
    """
    forward_values = functools.cache(lambda: _forward_values(paths.evidence))
    runs = iter(range(min(MOST_RUNS, paths.runs)))  # of all searches together

    def replacements(wrong: Collection[str], right: Collection[str]) -> Iterator[Replacement]:
        operands, values = forward_values()
        for change in paths.changes:
            place, moved = change.places[0], {n for n, d in change.difference.items() if d.any()}
            n, j, kind = place.key[0], place.key[-1], place.calls[-1].primitive.name
            if not change.linear or len(place.key) != 2 or n not in operands or (kind == "div" and j == 1):
                continue
            if not moved.issuperset(wrong) or not moved.isdisjoint(right):
                continue
            if place.origin and place.origin[-1].primitive.name == "gather":
                for finding, kept in _overwritten(paths.evidence, place.shape):
                    yield Replacement(finding, paths.lines({}, place.key, kept))
            factor = operands[n][1 - j] if j >= 0 else None
            for finding, ratio in _ratios(place, kind, factor, values, paths.evidence):
                if next(runs, None) is None:
                    return
                yield Replacement(finding, paths.lines({}, place.key, ratio))

    return replacements


def _ratios(
    place: Place, kind: str, factor: np.ndarray | None, values: list[_Value], evidence: Evidence
) -> Iterator[tuple[Finding, np.ndarray]]:
    """List the factors to multiply the derivative at a place by, so that it has another factor than it should."""
    at = describe_source(place.calls)
    if factor is None:
        for name, array in values:
            if name in evidence.graph.inputs and (ratio := _fit_to(array, place.shape)) is not None:
                yield Finding(TWICE, f"the derivative through {at} is multiplied by {name} once more"), ratio
        return
    right = _fit_to(factor, place.shape)
    if right is None or not right.all():
        return
    name = next((v.name for v in values if _equal(_fit_to(v.array, place.shape), right)), "its other factor")
    power = -1.0 if kind == "div" else 1.0
    where = f"in the derivative of {at}"
    yield (
        Finding(MISSING, f"{where}, {'the division by' if power < 0 else 'the factor'} {name} is missing"),
        (right**-power),
    )
    yield Finding(TWICE, f"{where}, {name} is taken twice"), right**power
    for other, array in values:
        shaped = _fit_to(array, place.shape)
        if shaped is not None and shaped.all() and not _equal(shaped, right):
            yield Finding(REPLACED, f"{where}, {other} is used in place of {name}"), (shaped / right) ** power


def _overwritten(evidence: Evidence, shape: tuple[int, ...]) -> Iterator[tuple[Finding, np.ndarray]]:
    """Keep one of the rows with equal indices, as where the rows of a gradient are set and not added."""
    for name, ids in index_arrays(evidence).items():
        if ids.shape != shape[: ids.ndim]:
            continue
        for which, step in (("last", -1), ("first", 1)):
            kept = np.zeros(ids.size)
            kept[::step][np.unique(ids.ravel()[::step], return_index=True)[1]] = 1
            columns = kept.reshape(*ids.shape, *(1,) * (len(shape) - ids.ndim))
            text = f"only the {which} term is kept where {name} repeats, as by = for +="
            finding = Finding(SET, f"{text}; add them: np.add.at, or .at[].add")
            yield finding, np.broadcast_to(columns, shape)


def _forward_values(evidence: Evidence) -> tuple[dict[int, list[np.ndarray]], list[_Value]]:
    """Return the operands of each product and quotient by the number of its equation, and all values with a name."""
    graph = evidence.graph
    calls = list(calls_in_order(graph.jaxpr, graph.into))

    @jax.jit
    def run(arrays: list) -> tuple[dict[int, list], dict[int, Any]]:
        operands, outputs = {}, {}

        def visit(n: int, equation: Any, given: list) -> list:
            found = list(apply_equation(equation, given))
            if equation.primitive.name in ("mul", "div") and is_float(equation.outvars[0].aval):  # not complex
                operands[n] = list(given)
            if len(found) == 1 and is_float(equation.outvars[0].aval):
                outputs[n] = found[0]
            return found

        walk(graph.jaxpr, arrays, visit, graph.into)
        return operands, outputs

    operands, outputs = run(list(evidence.arrays))
    named = [_Value(n, np.asarray(a, np.float64)) for n, a in evidence.forward_values.items() if _is_named(graph, n)]
    for n, array in outputs.items():
        name, value = describe_value(calls[n]), np.asarray(array, np.float64)
        if name != "a value" and not any(_equal(v.array, value) for v in named):
            named.append(_Value(name, value))
    return {n: [np.asarray(a, np.float64) for a in given] for n, given in operands.items()}, named


def _is_named(graph: CostGraph, name: str) -> bool:
    return name not in graph.nodes or graph.nodes[name].tapped


def _fit_to(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Broadcast an array to a shape, or return None if that cannot be, or if it is a number."""
    if array.ndim > len(shape) or array.size == 1 or not np.isfinite(array).all():
        return None
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        return None


def _equal(one: np.ndarray | None, other: np.ndarray) -> bool:
    return one is not None and one.shape == other.shape and bool(np.allclose(one, other, rtol=1e-12, atol=0))
