"""A walk over the equations of a jaxpr, including those of the functions that it calls."""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from jax.extend import core

CALLS = frozenset({"jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint"})
CUSTOM_VJP = frozenset({"custom_vjp_call"})
CUSTOM_JVP = frozenset({"custom_jvp_call"})
Visit = Callable[[int, Any, list], Sequence]


def walk(closed: Any, inputs: Sequence, visit: Visit, into: frozenset[str], lift: Callable = lambda x: x) -> list:
    """Return the outputs of `closed`, where visit(number, equation, its inputs) gives the outputs of each equation.

    The inputs and outputs can be anything the caller carries along the edges, such as arrays or names. `lift` makes
    one from a constant. Calls named in `into` are entered instead of visited; the numbers depend on nothing else.
    """
    numbers = count()

    def walk_through(jaxpr: Any, constants: Sequence, inputs: Sequence) -> list:
        carried = dict(zip(jaxpr.constvars, map(lift, constants), strict=True))
        carried.update(zip(jaxpr.invars, inputs, strict=True))

        def read(atom: Any) -> Any:
            return lift(atom.val) if isinstance(atom, core.Literal) else carried[atom]

        for equation in jaxpr.eqns:
            if not equation.outvars:
                continue  # jax.debug.print and the like, which no value depends on
            operands = [read(atom) for atom in equation.invars]
            if equation.primitive.name in into:
                called = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
                inner = getattr(called, "jaxpr", called), getattr(called, "consts", ())
                outputs = walk_through(*inner, operands)
            else:
                outputs = visit(next(numbers), equation, operands)
            carried.update(zip(equation.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    return walk_through(closed.jaxpr, closed.consts, inputs)


def apply_equation(equation: Any, operands: Sequence) -> list:
    """Compute the outputs of an equation from arrays or tracers."""
    found = equation.primitive.bind(*operands, **equation.primitive.get_bind_params(equation.params))
    return found if equation.primitive.multiple_results else [found]


def primitives_inside(jaxpr: Any) -> set[str]:
    """Return the names of the primitives in a jaxpr, including those inside loops, branches and custom rules."""
    names: set[str] = set()
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        inside = map(primitives_inside, core.jaxprs_in_params(equation.params))
        names |= {equation.primitive.name}.union(*inside)
    return names
