"""The cost with its graph cut at the returned lines: what each line should be, given the lines upstream of it.

At a cut node, the user's line replaces the cotangent that autodiff brings, which is noted. One reverse pass then gives
every derivative as it follows from the user's own lines just upstream. What still differs is a mistake in the line
itself.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from manual_bp.checker.graph.cost_graph import CostGraph
from manual_bp.checker.graph.jaxpr_walk import Visit, apply_equation, walk
from manual_bp.checker.judge.noise import noisy_equations

Arrays = Mapping[str, np.ndarray]
KEPT, KEPT_BYTES = 32, 2**20  # results that are kept, and the most that the arrays of one may take


class CutResult(NamedTuple):
    """The cost, the lines by node or root (without the d), and the values of the nodes."""

    cost: float
    lines: dict[str, np.ndarray]
    node_values: dict[str, np.ndarray]


@jax.custom_vjp
def _replace_cotangent(value: Any, line: Any, replace: Any) -> Any:
    return value


_replace_cotangent.defvjp(
    lambda value, line, replace: (value, (line, replace)),
    lambda kept, cotangent: (jnp.where(kept[1], kept[0], cotangent), None, None),
)


class CutGraph:
    """A graph that can be cut at each of its nodes, compiled to give the derivatives by them and by `roots`."""

    def __init__(self, graph: CostGraph, roots: Sequence[str]):
        self.graph, self.roots = graph, tuple(roots)
        # arrays of JAX need no copy at each call
        self._zeros = {n: jnp.zeros(node.shape) for n, node in graph.nodes.items()}
        self._size = sum(a.nbytes for a in self._zeros.values())
        self._flags = jnp.array(False), jnp.array(True)
        self._program = jax.jit(self._as_one_vector)
        self._last: dict[tuple, Any] = {}

    def __call__(self, arrays: Sequence, lines: Arrays | None = None, shifts: Arrays | None = None) -> CutResult:
        """Differentiate at `arrays`, with `lines` in place of autodiff's, and `shifts` added to the nodes' values.

        The last results are kept if they are small, because a report asks for most of them several times.
        """
        lines, shifts = lines or {}, shifts or {}
        return self._kept(arrays, (lines, shifts), lambda: self._run(arrays, lines, shifts))

    def _kept(self, arrays: Sequence, given: tuple, compute: Callable[[], Any]) -> Any:
        if self._size + sum(a.nbytes for a in arrays) > KEPT_BYTES:
            return compute()
        key = (*map(_content, arrays), *map(_content, given))
        result = self._last.pop(key, None) or compute()
        self._last[key] = result
        if len(self._last) > KEPT:
            del self._last[next(iter(self._last))]
        return result

    def _run(self, arrays: Sequence, lines: Arrays, shifts: Arrays) -> CutResult:
        zeros = self._zeros
        given = {n: (lines.get(n, zeros[n]), self._flags[n in lines]) for n in zeros}
        vector = np.asarray(self._program(list(arrays), given, zeros | {n: shifts[n] for n in shifts}), np.float64)
        names = [*zeros, *self.roots, *zeros]  # the lines, then the values of the nodes
        shapes = [zeros[n].shape if n in zeros else np.shape(arrays[self.graph.roots[n]]) for n in names]
        parts = np.split(vector[1:], np.cumsum([math.prod(s) for s in shapes])[:-1])
        shaped = [(n, part.reshape(s)) for n, part, s in zip(names, parts, shapes, strict=True)]
        lines_found = len(zeros) + len(self.roots)
        return CutResult(float(vector[0]), dict(shaped[:lines_found]), dict(shaped[lines_found:]))

    def _as_one_vector(self, arrays: list, given: dict, shifts: dict) -> Any:
        """Return all results as one array, since each array of JAX takes longer to fetch than to compute."""
        cost, found, node_values = differentiate(self.graph, self.roots, arrays, given, shifts)
        nodes = self.graph.nodes
        results = [cost, *(found[n] for n in (*nodes, *self.roots)), *(node_values[n] for n in nodes)]
        return jnp.concatenate([jnp.ravel(a).astype(float) for a in results])

    @functools.cached_property
    def _program_with_noise(self) -> Callable:
        def results(arrays: list, size: Any, draw: Any) -> Any:
            return differentiate(self.graph, self.roots, arrays, {}, self._zeros, noisy_equations(size, draw))

        return jax.jit(results)

    def with_noise(self, arrays: Sequence, size: float, draw: int) -> CutResult:
        """Return autodiff's results for a cost in which each equation has a relative error of this size."""

        def run() -> CutResult:
            cost, *found = self._program_with_noise(list(arrays), size, draw)
            return CutResult(float(cost), *({n: np.asarray(a, np.float64) for n, a in part.items()} for part in found))

        return self._kept(arrays, (size, draw), run)

    def traced(self, arrays: Sequence) -> dict:
        """Return autodiff's derivatives in a form that JAX can differentiate again."""
        return differentiate(self.graph, self.roots, list(arrays), {}, self._zeros)[1]


def _content(given: Any) -> Any:
    if isinstance(given, Mapping):
        return tuple((name, _content(array)) for name, array in sorted(given.items()))
    if isinstance(given, int | float):
        return given
    if jnp.issubdtype(given.dtype, jax.dtypes.prng_key):
        given = jax.random.key_data(given)
    return np.asarray(given).tobytes()


def differentiate(
    graph: CostGraph, roots: Sequence[str], arrays: list, given: dict, shifts: dict, apply: Visit | None = None
) -> Any:
    """Return the cost, the lines and the nodes' values; `apply`, if given, computes equation n in place of JAX."""
    node_at = {node.equation: name for name, node in graph.nodes.items()}

    def cost_and_nodes(active: dict, shifts: dict) -> Any:
        node_values = {}

        def visit(n: int, equation: Any, operands: list) -> Sequence:
            outputs = apply(n, equation, operands) if apply else apply_equation(equation, operands)
            if n not in node_at:
                return outputs
            (value,), name = outputs, node_at[n]
            if given:
                line, replace = given[name]
                value = _replace_cotangent(value, line.astype(value.dtype), replace)
            node_values[name] = value + shifts[name].astype(value.dtype)
            return [node_values[name]]

        return walk(graph.jaxpr, graph.with_roots(arrays, active), visit, graph.into)[0], node_values

    active = {name: arrays[graph.roots[name]] for name in roots}
    both = jax.value_and_grad(cost_and_nodes, argnums=(0, 1), has_aux=True)
    (cost, node_values), (by_root, by_node) = both(active, shifts)
    return cost, {**by_node, **by_root}, node_values
