"""The derivative of each line along a direction of params, as second derivatives through the pass would use it."""

from collections.abc import Callable, Iterator

import jax
import numpy as np

from manual_bp.checker._report import Line
from manual_bp.checker.judge.returned_lines import read_lines
from manual_bp.checker.judge.rounding import relative_error, rounding_bound
from manual_bp.checker.judge.traced_cost import TracedCost
from manual_bp.checker.judge.verdicts import Judgement

STEP = 1e-5


def judge_second_order(traced: TracedCost, backward: Callable, judgement: Judgement) -> Iterator[Line]:
    """Compare d/dt of each right line at params + t v, for a random v, with autodiff's.

    JAX differentiates backward. A NumPy backward is differentiated by central differences, accurate to 1e-6.
    """
    graph, arguments = traced.graph, traced.arguments
    names = judgement.with_verdict("right")
    rng = np.random.default_rng(0)
    places = [graph.roots[name] for name in graph.params]
    v = [rng.normal(size=np.shape(arguments.arrays[i])).astype(arguments.arrays[i].dtype) for i in places]

    def arrays_at(t: object) -> list:
        arrays = list(arguments.arrays)
        for place, direction in zip(places, v, strict=True):
            arrays[place] = arrays[place] + t * direction
        return arrays

    cut = traced.cut_at(names)
    true = jax.jvp(lambda t: cut.traced(arrays_at(t)), (0.0,), (1.0,))[1]

    def lines_at(t: object) -> dict:
        rebuilt = arguments.rebuild(arrays_at(t))
        lines = read_lines(backward(*rebuilt), rebuilt[0], traced.names()).found
        return {n: lines[n] for n in names}

    try:
        found, limit = jax.jvp(lines_at, (0.0,), (1.0,))[1], None
    except jax.errors.TracerArrayConversionError:
        after, before = lines_at(STEP), lines_at(-STEP)
        found, limit = {n: (after[n] - before[n]) / (2 * STEP) for n in names}, 1e-6
    for name in names:
        a, b = np.asarray(found[name], np.float64), np.asarray(true[name], np.float64)
        a = a.T if name in judgement.transposed else a
        if name in graph.nodes:
            a = a / judgement.scale if judgement.weights is None else a * judgement.weights
        error = relative_error(a, b)
        ok = error <= (limit or 16 * rounding_bound(graph, name, traced.eps))
        why = "" if ok else "the line is right here, but its derivative along a random direction of params is not"
        yield Line(f"d(d{name})", "right" if ok else "wrong", error, None, None if ok else "second order", why)
