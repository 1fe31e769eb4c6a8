"""The facts that a diagnosis is based on, the candidates that they are compared with, and the finding."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from manual_bp.checker.graph.arguments import COTANGENT
from manual_bp.checker.graph.cost_graph import COST
from manual_bp.checker.graph.jaxpr_walk import multiplications
from manual_bp.checker.graph.nodes import sibling_name
from manual_bp.checker.judge.cut_graph import Arrays, CutGraph
from manual_bp.checker.judge.norms import norm
from manual_bp.checker.judge.verdicts import Judgement

UNKNOWN = "unknown"
HERE = "this line"  # the one that a sentence is about
STEPS = 16  # slices, at most, of an argument of rank 3
# A search stops after evaluations that take about this many seconds, by the numbers in the graph and not by a clock, so
# that a report is the same everywhere
MOST_SECONDS, PER_LINE, PER_NUMBER = 3.0, 8e-6, 8e-9


class Finding(NamedTuple):
    """The key of a mistake, and a sentence. It is not exact if the line is only a multiple of the mistaken one.

    `at` is the node to mend, if that is not the line itself.
    """

    mistake: str
    diagnosis: str
    exact: bool = True
    at: str = ""


class Candidate(NamedTuple):
    """The key of a mistake, the line that it leads to, and a sentence.

    With a direction, the line is the given one plus k times the direction, for an unknown k that passes `allows`. The
    sentence then has a place {k} for it.
    """

    key: str
    line: np.ndarray
    sentence: str
    direction: np.ndarray | None = None
    allows: Callable[[float], bool] = lambda k: True


class Evidence:
    """One evaluation with the graph cut at every node, and the returned lines in the layout and scale of the cost.

    `numbers` holds the Python numbers among the arguments. `line(t)` is the line returned for t or, if there is none,
    the line that follows from those that were returned.
    """

    def __init__(
        self, cut: CutGraph, arrays: Sequence, judgement: Judgement, tolerance: float, numbers: Mapping[str, float]
    ):
        graph = cut.graph
        self.numbers = numbers
        self.graph, self.cut, self.arrays, self.tolerance = graph, cut, arrays, tolerance
        self.rounding = 1e-12 if tolerance < 1e-5 else tolerance  # of an element, beside the largest of its line
        # the arguments of a rule hold no examples
        self.m = 1 if graph.of_rule else judgement.m
        self.scale, self.transposed = judgement.scale, judgement.transposed
        self.found = judgement.well_shaped()
        self.returned = self.found.keys()
        self.deltas = {name: line for name, line in self.found.items() if name in graph.nodes}
        result = self.cut(arrays, self.deltas)
        sizes = [line.size for line in result.lines.values()]
        computed = sum(sizes) + multiplications(graph.jaxpr.jaxpr) / 16  # a product does many at once
        self._seconds, self._evaluation = 0.0, PER_LINE * len(sizes) + PER_NUMBER * computed
        inputs = [(n, a) for n, a in zip(graph.inputs, arrays, strict=True) if not n.startswith(COTANGENT)]
        numeric = {n: a for n, a in inputs if getattr(a.dtype, "kind", "O") in "fiub"}
        # NumPy subtracts no booleans
        values = {n: np.asarray(a, float if a.dtype == bool else None) for n, a in numeric.items()}
        # a loop over time steps uses X[t]
        steps = {f"{n}[{t}]": v[t] for n, v in values.items() if v.ndim == 3 and len(v) <= STEPS for t in range(len(v))}
        self.forward_values = values | result.node_values | steps
        self.expected = result.lines
        self.equations: dict[str, list] = {}  # those found so far

    def may_search(self, share: float = 1.0) -> bool:
        """Return whether this share of the evaluations that a diagnosis may take is not used up."""
        return self._seconds <= share * MOST_SECONDS

    def _lines(self, deltas: Arrays, shifts: Arrays | None = None) -> dict[str, np.ndarray]:
        self._seconds += self._evaluation
        return self.cut(self.arrays, deltas, shifts).lines

    def assume(self, node: str, line: np.ndarray) -> None:
        """Continue as if `line` had been returned for a node."""
        self.deltas, self.equations = self.deltas | {node: line}, {}
        self.expected = self._lines(self.deltas)

    def lines_given(self, node: str, line: np.ndarray) -> dict[str, np.ndarray]:
        """Return all lines as they would follow from this line at a node."""
        return self._lines(self.deltas | {node: line})

    def activation_of(self, line: str) -> str:
        """Name the activation at a weighted input: the node that it feeds, or A2 for Z2."""
        nodes = [s for s in self.graph.successors[line] if s in self.graph.nodes]
        return nodes[0] if nodes else sibling_name(line, "A")

    def line(self, name: str) -> np.ndarray:
        return self.deltas.get(name, self.expected[name])

    def contribution(self, node: str, line: np.ndarray | None = None, shifts: Arrays | None = None) -> Arrays:
        """Return the part of each line that comes through one node alone, or directly from the cost for node COST."""
        zeros = {n: np.zeros(self.graph.nodes[n].shape) for n in self.graph.nodes}
        direct = self._lines(zeros, shifts)
        if node == COST:
            return direct
        with_node = self._lines(zeros | {node: self.line(node) if line is None else line}, shifts)
        return {name: with_node[name] - direct[name] for name in direct}

    def same(self, found: np.ndarray, expected: np.ndarray) -> bool:
        """Return whether two arrays have one shape and, within the tolerance, the same nonzero values."""
        if found.shape != expected.shape:
            return False
        size = norm(expected)
        return bool(size and norm(found - expected) <= self.tolerance * size and self.same_everywhere(found, expected))

    def same_everywhere(self, found: np.ndarray, expected: np.ndarray) -> bool:
        """Return whether each element agrees, also those that are small beside the largest."""
        return not self.differs(found, expected, relative=10 * self.tolerance).any()

    def differs(self, found: np.ndarray, expected: np.ndarray, relative: float = 0.0, share: float = 1.0) -> np.ndarray:
        """Return which elements differ by more than a share of the rounding and, relatively, of their own size."""
        size = float(np.abs(expected).max(initial=0.0)) or float(np.abs(found).max(initial=0.0))
        return np.abs(found - expected) > share * self.rounding * size + relative * np.abs(expected)
