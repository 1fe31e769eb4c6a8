"""A walk over a jaxpr, equation by equation, into the functions it calls.

The checker reads a cost as the list of its equations: to see which intermediate feeds which, to run it with its graph
cut at the intermediates, and to find the units at a kink. One walk serves the three; what is carried along the edges
(names, arrays) and what an equation does to it is the caller's.
"""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from jax.extend import core

CALLS = frozenset({"jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint"})
CUSTOM_VJP = frozenset({"custom_vjp_call"})
CUSTOM_JVP = frozenset({"custom_jvp_call"})
Step = Callable[[int, Any, list], Sequence]


def walk(
    closed: Any,
    inputs: Sequence,
    step: Step,
    into: frozenset[str],
    lift: Callable[[Any], Any] = lambda constant: constant,
) -> list:
    """The outputs of `closed` on `inputs`, each equation being done by step(number, equation, its inputs).

    `into` names the calls that are walked through rather than stepped over; with the same, equations have the same
    numbers in every walk. `lift` makes what is carried out of a constant.
    """
    numbers = count()

    def run(jaxpr: Any, constants: Sequence, inputs: Sequence) -> list:
        carried = dict(zip(jaxpr.constvars, map(lift, constants), strict=True))
        carried.update(zip(jaxpr.invars, inputs, strict=True))

        def read(atom: Any) -> Any:
            return lift(atom.val) if isinstance(atom, core.Literal) else carried[atom]

        for equation in jaxpr.eqns:
            values = [read(atom) for atom in equation.invars]
            called = body(equation) if equation.primitive.name in into else None
            outputs = run(*called, values) if called else step(next(numbers), equation, values)
            carried.update(zip(equation.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    return run(closed.jaxpr, closed.consts, inputs)


def body(equation: Any) -> tuple[Any, Sequence]:
    """The jaxpr that a call runs, and its constants."""
    called = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    return getattr(called, "jaxpr", called), getattr(called, "consts", ())


def evaluate(equation: Any, values: Sequence) -> list:
    """What an equation gives on arrays, or on tracers."""
    found = equation.primitive.bind(*values, **equation.primitive.get_bind_params(equation.params))
    return found if equation.primitive.multiple_results else [found]


def names_inside(jaxpr: Any) -> set[str]:
    """The primitives of a jaxpr, those of loops, branches and custom rules included."""
    seen: set[str] = set()

    def visit(jaxpr: Any) -> None:
        for equation in jaxpr.eqns:
            seen.add(equation.primitive.name)
            for inner in core.jaxprs_in_params(equation.params):
                visit(getattr(inner, "jaxpr", inner))

    visit(getattr(jaxpr, "jaxpr", jaxpr))
    return seen
