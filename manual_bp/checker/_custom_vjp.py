"""The rule of a custom_vjp against autodiff of the function it stands for."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from manual_bp.checker._check import check, precision
from manual_bp.checker._finite_differences import against_differences
from manual_bp.checker._graph import has_custom_vjp, has_rule_out_of_reach
from manual_bp.checker._inputs import is_float
from manual_bp.checker._prepare import Prepared, prepare
from manual_bp.checker._report import Line, Report
from manual_bp.checker._resolution import relative


def check_custom_vjp(f: Callable, *args: Any, tolerance: float | None = None, seed: int = 0) -> Report:
    """Judge the backward rule of a `jax.custom_vjp` function, or of those inside a function, by its cotangents.

    What is checked is <u, f(*args)> for a random cotangent u: its derivative by the rule, against autodiff of what f
    computes with the rule left aside. The lines are "d" and the names of f's arguments, "dx", "dparams[0].W"; the
    cotangent itself is "dout". A wrong rule is run on 2 u as well, to see whether it forgets its cotangent, and what
    fwd returns is compared with f. Where autodiff has no way through f (a callback, a kernel), or would go by the rule
    (inside a loop or a branch), central differences take its place, and only the lines returned are judged.

    Args:
        f: the function, jitted or not, with outputs of any structure.
        args: where to check it. The floating-point arrays in them, NumPy's or JAX's, get a line each; what is no array
            is passed on as it is.
        tolerance: as in `check_gradients`.
        seed: of the cotangents.

    Returns:
        A `Report`, as `check_gradients` does.

    Raises:
        ValueError: no custom_vjp is in f, or no floating-point number in its output.

    f runs in float64 where it allows it, with matmul precision "highest".
    """
    if not args:
        raise TypeError("check_custom_vjp(f, *args) needs the arguments of f, at which its rule is checked")
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        weighted = _weighted(f, seed)
        prepared = prepare(weighted, args[0], args[1:], through_rules=True, named_after=f)
        if not has_custom_vjp(prepared.graph):
            raise ValueError("f has no custom_vjp in it, so there is no rule to check; check_gradients checks a cost")
        by_rule = _by_rule(weighted, prepared)
        reason = "a rule stands inside a loop or a branch" if has_rule_out_of_reach(prepared.graph) else ""
        try:
            prepared.full_cut()(prepared.inputs.arrays)
        except Exception as error:
            reason = str(error).strip().splitlines()[0]
        if reason:
            return _by_differences(prepared, by_rule, reason)
        report = check(prepared, by_rule, tolerance=tolerance)
        notes = ("the cost here is <u, f>, the outputs weighted by a random cotangent u", *report.notes)
        lines = report.lines
        if report.verdict == "wrong":
            lines = _forgotten_cotangents(lines, by_rule(), _by_rule(lambda *values: 2 * weighted(*values), prepared)())
        return dataclasses.replace(report, lines=(*_another_value(weighted, prepared), *lines), notes=notes)


def _weighted(f: Callable, seed: int) -> Callable:
    """<u, f(*values)>, u random and the same at each call."""

    def weighted(*values: Any, tap: Callable = lambda name, value: value) -> Any:
        outputs = [jnp.asarray(o) for o in jax.tree.leaves(f(*values))]
        outputs = [o for o in outputs if is_float(o)]
        outputs = [tap(f"out[{i}]" if len(outputs) > 1 else "out", o) for i, o in enumerate(outputs)]
        if not outputs:
            raise ValueError("f has no floating-point output, so there is no cotangent to give to its rule")
        rng = np.random.default_rng(seed)
        return sum(jnp.sum(jnp.asarray(rng.normal(size=o.shape), o.dtype) * o) for o in outputs)

    return weighted


def _by_rule(weighted: Callable, prepared: Prepared) -> Callable:
    """The lines by the rule, under the names of the inputs."""
    inputs, roots = prepared.inputs, prepared.graph.roots

    def by_rule(*_: Any) -> dict[str, Any]:
        def of_roots(active: dict) -> Any:
            arrays = list(inputs.arrays)
            for name, array in active.items():
                arrays[roots[name]] = array
            return weighted(*inputs.rebuild(arrays))

        found = jax.grad(of_roots)({name: jnp.asarray(inputs.arrays[place]) for name, place in roots.items()})
        return {"d" + name: line for name, line in found.items()}

    return by_rule


def _another_value(weighted: Callable, prepared: Prepared) -> Iterator[Line]:
    """The forward pass of the rule has to return what f does."""
    first = next(iter(prepared.graph.params))
    arrays, place = prepared.inputs.arrays, prepared.graph.roots[first]

    def of_first(array: Any) -> Any:
        return weighted(*prepared.inputs.rebuild([*arrays[:place], array, *arrays[place + 1 :]]))

    with_rule, _ = jax.vjp(of_first, jnp.asarray(arrays[place]))
    without = prepared.cost_again()
    if not abs(float(with_rule) - without) <= 1e4 * prepared.eps * max(abs(without), 1.0):
        says = f"fwd returns another value than f: <u, f> is {float(with_rule):.9g} by the rule, not {without:.9g}"
        yield Line("out", "wrong", None, None, "another value", says)


def _forgotten_cotangents(lines: tuple[Line, ...], once: dict, twice: dict) -> tuple[Line, ...]:
    """A vjp is linear in its cotangent: twice the cotangent has to give twice the line."""
    found = {}
    for line in lines:
        a, b = (np.asarray(by.get(line.line, 0.0), np.float64) for by in (once, twice))
        if line.verdict in ("wrong", "inherited") and a.any() and relative(b, 2 * a) > 1e-6:
            key = "cotangent forgotten" if relative(b, a) <= 1e-6 else "not linear in the cotangent"
            says = {
                "cotangent forgotten": "it is the same for twice the cotangent: the rule does not use its cotangent",
                "not linear in the cotangent": "it is not twice as large for twice the cotangent, as a vjp has to be",
            }
            found[line.line] = line._replace(verdict="wrong", mistake=key, diagnosis=says[key], suggestion="")
    if not found:
        return lines
    return tuple(found.get(line.line, line) for line in lines if line.returned)


def _by_differences(prepared: Prepared, by_rule: Callable, reason: str) -> Report:
    """Where autodiff has no rule of its own for what f calls: a kernel, a callback."""
    lines = tuple(against_differences(prepared, {name[1:]: line for name, line in by_rule().items()}))
    note = f"judged by central differences: autodiff of f without its rule is not possible ({reason})"
    return Report(lines, (), (note,), precision(prepared.eps), prepared.cost_again(), "central differences")
