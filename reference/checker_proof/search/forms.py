"""A backward pass as users give it to the checker: the rule of a custom_vjp, or a pass that returns lines."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import manual_bp as bp
from manual_bp.checker import Report
from reference.checker_proof.search.mutations import compiled
from reference.checker_proof.search.points import Program, cost_of_output, cotangent_of_cost


class Form(NamedTuple):
    """How a pass is given: what it is, its precision, and whether arguments are parameters or others.

    Args:
        kind: "rule", "lines" (a dict with a line for each argument) or "gradients" (a dict like params).
        inside: the dtype that the pass computes in, or "" for that of its arguments.
        given: the dtype of the arguments.
        everywhere: whether the function computes in that dtype too.
        data: whether the first argument is not a parameter.
    """

    kind: str
    inside: str = ""
    given: str = "float64"
    everywhere: bool = False
    data: bool = False

    def returned(self, program: Program) -> list[str]:
        return program.floats()[1:] if self.kind == "gradients" and self.has_data(program) else program.floats()

    def has_data(self, program: Program) -> bool:
        return self.data and self.kind != "rule" and len(program.floats()) > 1

    def __str__(self) -> str:
        inside = f", in {self.inside} {'everywhere' if self.everywhere else 'inside'}" if self.inside else ""
        return f"{self.kind} at {self.given}{inside}"


def report(program: Program, text: str, form: Form, point: dict[str, Any]) -> Report:
    """Return the checker's report on a pass, given by its text."""
    names = program.floats()
    point = {n: a.astype(form.given) if n in names else a for n, a in point.items()}
    forward = functools.partial(_in, form.inside, program) if form.everywhere else program.forward
    return (
        _rule(program, text, form, point, forward)
        if form.kind == "rule"
        else _pass(program, text, form, point, forward)
    )


def _in(dtype: str, program: Program, **arguments: Any) -> Any:
    return program.forward(**{n: _cast(a, dtype) for n, a in arguments.items()}).astype("float32")


def _cast(a: Any, dtype: str) -> Any:
    return jnp.asarray(a, dtype) if dtype and jnp.issubdtype(a.dtype, jnp.floating) else a


def _rule(program: Program, text: str, form: Form, point: dict[str, Any], forward: Callable) -> Report:
    backward, names = compiled(text, jnp), list(point)

    def rule(kept: tuple, dout: Any) -> tuple:
        given = {n: _cast(a, form.inside) for n, a in zip(names, kept, strict=True)}
        found = dict(zip(program.floats(), backward(_cast(dout, form.inside), **given), strict=True))
        lines = ((found.get(n), a) for n, a in zip(names, kept, strict=True))
        return tuple(None if line is None else jnp.asarray(line, a.dtype) for line, a in lines)

    @functools.wraps(program.forward)
    def f(*args: Any) -> Any:
        return forward(**dict(zip(names, args, strict=True)))

    g = jax.custom_vjp(f)
    g.defvjp(lambda *args: (g(*args), args), rule)
    return bp.check_custom_vjp(g, *(jnp.asarray(a) for a in point.values()))


def _pass(program: Program, text: str, form: Form, point: dict[str, Any], forward: Callable) -> Report:
    backward = compiled(text, jnp if form.inside == "bfloat16" else np)
    split = form.has_data(program)
    params = {n: point[n] for n in program.floats()[split:]}
    rest = {n: a for n, a in point.items() if n not in params}

    def cost(params: dict, *args: Any) -> Any:
        return cost_of_output(forward(**params, **dict(zip(rest, args, strict=True))))

    def lines(params: dict, *args: Any) -> dict:
        given = params | dict(zip(rest, args, strict=True))
        dout = cotangent_of_cost(np.asarray(jax.jit(lambda given: forward(**given))(given)))
        if form.inside == "bfloat16":
            cast, dout = {n: _cast(a, form.inside) for n, a in given.items()}, _cast(dout, form.inside)
        else:
            cast = {n: a.astype(form.inside) if form.inside and n in program.floats() else a for n, a in given.items()}
        found = backward(dout.astype(form.inside or dout.dtype), **cast)
        found = {n: np.asarray(line) for n, line in zip(program.floats(), found, strict=True)}
        found = {n: line.astype(form.inside or line.dtype) for n, line in found.items()}
        if form.kind == "lines":
            return {"d" + n: found[n] for n in found}
        return {n: found[n] for n in params}

    # the names of the arguments are those of the program
    signature = f"lambda params{''.join(', ' + n for n in rest)}: cost(params{''.join(', ' + n for n in rest)})"
    return bp.check_gradients(eval(signature, {"cost": cost}), lines, params, *rest.values())
