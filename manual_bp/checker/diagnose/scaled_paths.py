"""The lines as they would be if the derivative through one place of the graph were missing, doubled or scaled."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from manual_bp.checker.diagnose.evidence import Evidence
from manual_bp.checker.diagnose.source_lines import find_source
from manual_bp.checker.graph.jaxpr_walk import multiplications
from manual_bp.checker.graph.places import Key, Place, apply_scaled, find_places
from manual_bp.checker.judge.cut_graph import Arrays, differentiate

QUICK = {"xla_backend_optimization_level": 0}  # it is compiled for one report
# beyond these a search would take longer than a diagnosis may; each run takes as long as for NUMBERS more per place
MOST_PLACES, MOST_WORK, MOST_NUMBERS, NUMBERS = 200, 2**28, 2**23, 1000


@jax.custom_vjp
def _scale_cotangent(value: Any, factor: Any) -> Any:
    return value


_scale_cotangent.defvjp(lambda value, factor: (value, factor), lambda factor, u: (u * factor, None))


class Change(NamedTuple):
    """The change of every line if the derivative at some places is multiplied by a factor.

    If it is linear, another factor makes it (1 - factor) times as large, where it is given for the factor 0.
    """

    places: tuple[Place, ...]
    factor: float
    linear: bool
    difference: Arrays


class ScaledPaths:
    """The graph of some evidence, compiled with a factor at each place by which the derivative is multiplied.

    There are no changes if the graph is too large or if, with all factors 1, it gives other lines than expected. Places
    where stopping the derivative changes nothing, such as the maximum that a softmax subtracts, are stopped throughout.
    """

    def __init__(self, evidence: Evidence):
        graph = evidence.graph
        self.evidence, self._stopped = evidence, dict[Key, float]()
        self.names = [n for n in graph.backward_order() if n in evidence.found]
        self.places = find_places(graph)
        self._numbers = {p.key: i for i, p in enumerate(self.places)}
        self._nothing = {p.shape: np.ones(p.shape) for p in self.places}
        self._program = jax.jit(self._trace, compiler_options=QUICK)
        size, work = sum(evidence.found[n].size for n in self.names), sum(p.size for p in self.places)
        work += NUMBERS * len(self.places) + multiplications(graph.jaxpr.jaxpr)
        self.runs = min(MOST_WORK // (work + 1), MOST_NUMBERS // (size + 1))  # that may be made, and kept
        usable = 0 < len(self.places) <= min(MOST_PLACES, self.runs)
        self.changes = self._find_changes() if usable and not self._moves(self.lines({})) else []

    def lines(self, factors: Mapping[Key, float], at: Key = (), array: Any = None) -> Arrays:
        """Return the lines with these factors at some places and, if need be, an array as the factor at one."""
        evidence, s = self.evidence, np.ones(len(self.places))
        for key, factor in {**self._stopped, **factors}.items():
            s[self._numbers[key]] = factor
        zeros = {n: np.zeros(node.shape) for n, node in evidence.graph.nodes.items()}
        given = {n: (evidence.deltas.get(n, zeros[n]), n in evidence.deltas) for n in zeros}
        arrays = dict(self._nothing)
        if at:
            arrays[np.shape(array)] = array
        found = self._program(list(evidence.arrays), given, zeros, s, self._numbers.get(at, -1), arrays)
        return {n: np.asarray(found[n], np.float64) for n in self.names}

    def _trace(self, arrays: list, given: dict, zeros: dict, s: Any, at: Any, by_shape: dict) -> dict:
        def scale(key: Key, value: Any) -> Any:
            i = self._numbers.get(key)
            if i is None:
                return value
            factor = jnp.where(at == i, by_shape[value.shape], s[i])
            return _scale_cotangent(value, factor.astype(jnp.result_type(value)))

        cut = self.evidence.cut
        apply = functools.partial(apply_scaled, scale, ())
        return differentiate(cut.graph, cut.roots, arrays, given, zeros, apply)[1]

    def _moves(self, lines: Arrays) -> bool:
        """Return whether these lines differ from those expected, by more than rounding."""
        expected, tolerance = self.evidence.expected, 1e-3 * self.evidence.tolerance
        return any(np.linalg.norm(lines[n] - expected[n]) > tolerance * np.linalg.norm(expected[n]) for n in lines)

    def _find_changes(self) -> list[Change]:
        without = {p.key: self.lines({p.key: 0.0}) for p in self.places}
        neutral = {key: 0.0 for key, lines in without.items() if not self._moves(lines)}
        if neutral and not self._moves(self.lines(neutral)):
            self._stopped = neutral
            without = {key: self.lines({key: 0.0}) for key in without if key not in neutral}
        expected, changes = self.evidence.expected, []

        def add(places: tuple[Place, ...], factor: float, lines: Arrays, linear: bool = False) -> None:
            if self._moves(lines):
                difference = {n: (lines[n] - expected[n]) * self._moves({n: lines[n]}) for n in lines}
                changes.append(Change(places, factor, linear, difference))

        repeated: dict[Any, list[Place]] = {}
        for p in self.places:
            repeated.setdefault(_code(p), []).append(p)
            if p.key in without:
                add((p,), 0.0, without[p.key], linear=not p.in_loop)
        for places in repeated.values():
            for factor in (0.0, -1.0, 2.0) if places[0].in_loop or len(places) > 1 else ():
                add(tuple(places), factor, self.lines(dict.fromkeys((p.key for p in places), factor)))
        return changes


def _code(place: Place) -> tuple:
    """Return a value that is equal for places of the same code, as in a Python loop or a function called twice."""
    calls = place.calls
    return place.key[-1], *((c.primitive.name, find_source(calls[:i])) for i, c in enumerate(calls, 1))
