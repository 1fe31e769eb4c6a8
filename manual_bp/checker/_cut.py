"""The cost with its graph cut: what each line should be, given the lines before it.

At a node that is cut, the cotangent that autodiff brings is noted and the user's own line goes on in its place. One
reverse pass then gives for every node and root the derivative that follows from the user's lines just upstream of it,
and from nothing else: a mistake upstream is in them, so what differs still is the line's own.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from manual_bp.checker._graph import Graph
from manual_bp.checker._walk import evaluate, walk

Arrays = Mapping[str, np.ndarray]


class Result(NamedTuple):
    cost: float
    lines: dict[str, np.ndarray]  # by node or root, without the d
    values: dict[str, np.ndarray]


@jax.custom_vjp
def _replace_cotangent(value: Any, line: Any, replace: Any) -> Any:
    return value


_replace_cotangent.defvjp(
    lambda value, line, replace: (value, (line, replace)),
    lambda kept, cotangent: (jnp.where(kept[1], kept[0], cotangent), None, None),
)


class Cut:
    """A graph compiled with cuts at `nodes`, for the derivatives by them and by `roots`."""

    def __init__(self, graph: Graph, nodes: Sequence[str], roots: Sequence[str]):
        self.graph, self.nodes, self.roots = graph, tuple(nodes), tuple(roots)
        self._zeros = {n: jnp.zeros(graph.nodes[n].shape, jnp.float64) for n in nodes}
        self._program = jax.jit(functools.partial(_program, graph, self.nodes, self.roots))

    def __call__(self, arrays: Sequence, lines: Arrays | None = None, shifts: Arrays | None = None) -> Result:
        """Derivatives at `arrays`; at the nodes in `lines` those go on in place of autodiff's.

        `shifts` are added to the values of nodes.
        """
        lines, shifts, zeros = lines or {}, shifts or {}, self._zeros
        given = {n: (lines.get(n, zeros[n]), n in lines) for n in self.nodes}
        cost, found, values = self._program(list(arrays), given, zeros | {n: shifts[n] for n in shifts})
        to_numpy = functools.partial(jax.tree.map, lambda a: np.asarray(a, np.float64))
        return Result(float(cost), to_numpy(found), to_numpy(values))

    def traced(self, arrays: Sequence) -> dict:
        """Autodiff's derivatives, for JAX to differentiate again."""
        return _program(self.graph, self.nodes, self.roots, list(arrays), {}, self._zeros)[1]


def _program(graph: Graph, nodes: Sequence[str], roots: Sequence[str], arrays: list, given: dict, shifts: dict) -> Any:
    at = {graph.nodes[name].equation: name for name in nodes}

    def cost_of(active: dict, shifts: dict) -> Any:
        values = {}

        def step(n: int, equation: Any, inputs: list) -> Sequence:
            outputs = evaluate(equation, inputs)
            if n not in at:
                return outputs
            (value,) = outputs
            if given:
                line, replace = given[at[n]]
                value = _replace_cotangent(value, line.astype(value.dtype), replace)
            values[at[n]] = value + shifts[at[n]].astype(value.dtype)
            return [values[at[n]]]

        inputs = list(arrays)
        for name, array in active.items():
            inputs[graph.roots[name]] = array
        return walk(graph.jaxpr, inputs, step, graph.into)[0], values

    active = {name: arrays[graph.roots[name]] for name in roots}
    (cost, values), (by_root, by_node) = jax.value_and_grad(cost_of, argnums=(0, 1), has_aux=True)(active, shifts)
    return cost, {**by_node, **by_root}, values
