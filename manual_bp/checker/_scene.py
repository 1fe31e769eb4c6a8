"""What a diagnosis looks at: values, the lines as they were returned, and what each follows from."""

from collections.abc import Mapping, Sequence

import numpy as np

from manual_bp.checker._cut import Cut
from manual_bp.checker._graph import COST
from manual_bp.checker._judge import Judged


class Scene:
    """One evaluation, cut at every node, with the returned lines in the cost's own layout and scale.

    `line(t)` is what was returned for t, or, where nothing was, what it should be given the lines that were.
    """

    def __init__(self, cut: Cut, arrays: Sequence, judged: Judged, tolerance: float):
        graph = cut.graph
        self.graph, self.cut, self.arrays, self.tolerance = graph, cut, arrays, tolerance
        self.m, self.scale, self.turned = judged.m, judged.scale, judged.turned
        self.found = judged.well_shaped()
        self.returned = self.found.keys()
        self.given = {name: line for name, line in self.found.items() if name in graph.nodes}
        self.values = {n: np.asarray(a) for n, a in zip(graph.inputs, arrays, strict=True) if _is_number(a)}
        result = self.cut(arrays, self.given)
        self.values |= result.values
        self.expected = result.lines

    def assume(self, node: str, line: np.ndarray) -> None:
        """Go on as if `line` had been returned for a node."""
        self.given = self.given | {node: line}
        self.expected = self.cut(self.arrays, self.given).lines

    def with_line(self, node: str, line: np.ndarray) -> dict[str, np.ndarray]:
        """What every line would be if a node's were this one."""
        return self.cut(self.arrays, self.given | {node: line}).lines

    def line(self, name: str) -> np.ndarray:
        return self.given.get(name, self.expected[name])

    def through(
        self, node: str, line: np.ndarray | None = None, shifts: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        """What reaches each line by way of one node alone; of the cost alone for node COST."""
        nothing = {n: np.zeros(self.graph.nodes[n].shape) for n in self.graph.nodes}
        direct = self.cut(self.arrays, nothing, shifts).lines
        if node == COST:
            return direct
        with_node = self.cut(self.arrays, nothing | {node: self.line(node) if line is None else line}, shifts).lines
        return {name: with_node[name] - direct[name] for name in direct}

    def same(self, found: np.ndarray, expected: np.ndarray) -> bool:
        """Equal up to the scene's tolerance, and up to axes of length 1."""
        if found.shape != expected.shape:
            return False
        size = np.linalg.norm(expected)
        return bool(size and np.linalg.norm(found - expected) <= self.tolerance * size)


def matrix(array: np.ndarray) -> np.ndarray:
    """A vector as a column, a scalar as a 1 by 1 matrix; of a stack of matrices the rows, one below the other."""
    return array.reshape(-1, 1) if array.ndim < 2 else array.reshape(-1, array.shape[-1])


def _is_number(array: object) -> bool:
    return getattr(getattr(array, "dtype", None), "kind", "") in "fiub"
