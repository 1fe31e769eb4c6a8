"""The derivative of each line along a direction of params: what a second derivative through the pass would use."""

from collections.abc import Callable, Iterator

import jax
import numpy as np

from manual_bp.checker._judge import Judged
from manual_bp.checker._prepare import Prepared
from manual_bp.checker._report import Line
from manual_bp.checker._resolution import bound, relative
from manual_bp.checker._returned import read

STEP = 1e-5


def second_order(prepared: Prepared, backward: Callable, judged: Judged) -> Iterator[Line]:
    """d/dt of each right line at params + t v, v random, against the same of autodiff's.

    Backward is differentiated by JAX; where it is NumPy's, by central differences, and then to 1e-6 only.
    """
    graph, inputs = prepared.graph, prepared.inputs
    names = judged.with_verdict("right")
    rng = np.random.default_rng(0)
    places = [graph.roots[name] for name in graph.params]
    v = [rng.normal(size=np.shape(inputs.arrays[i])).astype(inputs.arrays[i].dtype) for i in places]

    def at(t: object) -> list:
        arrays = list(inputs.arrays)
        for place, direction in zip(places, v, strict=True):
            arrays[place] = arrays[place] + t * direction
        return arrays

    cut = prepared.cuts(tuple(n for n in names if n in graph.nodes), tuple(n for n in names if n in graph.roots))
    true = jax.jvp(lambda t: cut.traced(at(t)), (0.0,), (1.0,))[1]

    def lines_at(t: object) -> dict:
        values = inputs.rebuild(at(t))
        lines = read(backward(*values), values[0], prepared.names()).found
        return {n: lines[n] for n in names}

    try:
        found, limit = jax.jvp(lines_at, (0.0,), (1.0,))[1], None
    except jax.errors.TracerArrayConversionError:
        after, before = lines_at(STEP), lines_at(-STEP)
        found, limit = {n: (after[n] - before[n]) / (2 * STEP) for n in names}, 1e-6
    for name in names:
        a, b = np.asarray(found[name], np.float64), np.asarray(true[name], np.float64)
        a = a.T if name in judged.turned else a
        if name in graph.nodes:
            a = a / judged.scale if judged.weights is None else a * judged.weights
        error = relative(a, b)
        ok = error <= (limit or 16 * bound(graph, name, prepared.eps))
        why = "" if ok else "the line is right here, but its derivative along a random direction of params is not"
        yield Line(f"d(d{name})", "right" if ok else "wrong", error, None, None if ok else "second order", why)
