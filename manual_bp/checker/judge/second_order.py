"""Second derivatives: each right line differentiated once more, along a random direction of the parameters."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from manual_bp.checker._report_line import Line
from manual_bp.checker.judge.norms import relative_error
from manual_bp.checker.judge.raised_error import UNTRACEABLE
from manual_bp.checker.judge.returned_lines import read_lines
from manual_bp.checker.judge.rounding import rounding_bound
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
    params = {name: arguments.arrays[graph.roots[name]] for name in graph.params}
    v = {name: rng.normal(size=np.shape(p)).astype(p.dtype) for name, p in params.items()}

    def arrays_at(t: Any) -> list:
        return graph.with_roots(arguments.arrays, {name: p + t * v[name] for name, p in params.items()})

    cut = traced.cut_for(names)
    true = _derivative(lambda t: cut.traced(arrays_at(t)))

    def lines_at(t: Any) -> dict:
        rebuilt = arguments.rebuild(arrays_at(t))
        lines = read_lines(backward(*rebuilt), rebuilt[0], traced.names()).found
        return {n: lines[n] for n in names}

    try:
        found, limit = _derivative(lines_at), None
    except UNTRACEABLE:
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


def without_second_order(lines: Sequence[Line]) -> list[Line]:
    """Add that the derivative of each right line is not known, where there is no autodiff to compare it with."""
    why = "second derivatives are compared with autodiff, which is not possible here"
    right = [line.line for line in lines if line.verdict == "right"]
    return [*lines, *(Line(f"d({name})", "cannot tell", diagnosis=why) for name in right)]


def _derivative(lines_at: Callable[[Any], dict]) -> dict:
    """Return d/dt of the lines at t = 0; in reverse twice if a custom_vjp inside refuses the forward mode.

    The vjp w -> J^T w is linear in w, and its own vjp is the jvp v -> J v.
    """
    try:
        return jax.jit(lambda t: jax.jvp(lines_at, (t,), (1.0,))[1])(0.0)
    except TypeError as error:
        if "forward-mode" not in str(error):
            raise

    def in_reverse(t: Any) -> dict:
        lines, pull = jax.vjp(lines_at, t)
        return jax.vjp(pull, jax.tree.map(jnp.zeros_like, lines))[1]((1.0,))[0]

    return jax.jit(in_reverse)(0.0)
