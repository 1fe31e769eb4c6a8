"""A walk over the equations of a jaxpr, including those of the functions that it calls."""

import math
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
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


class ScanBody(NamedTuple):
    """The function inside a scan, and the numbers of its constants and of the values that it carries."""

    closed: Any
    constants: int
    carried: int


def scan_body(equation: Any) -> ScanBody | None:
    params = equation.params
    if equation.primitive.name == "scan" and "ft_in" in params:  # jax 0.12
        constants, carried, _ = (len(list(part)) for part in params["ft_in"].unpack())
        return ScanBody(params["jaxpr"], constants, carried)
    if equation.primitive.name == "scan" and "num_consts" in params:
        return ScanBody(params["jaxpr"], params["num_consts"], params["num_carry"])
    return None


def apply_scan(equation: Any, body: ScanBody, operands: Sequence, inside: Callable[[list], list]) -> list:
    """Compute a scan with `inside` in place of its body."""
    first = body.constants + body.carried

    def step(carry: list, slices: list) -> tuple[list, list]:
        found = inside([*operands[: body.constants], *carry, *slices])
        return found[: body.carried], found[body.carried :]

    settings = {name: equation.params[name] for name in ("length", "reverse", "unroll")}
    carried, stacked = jax.lax.scan(step, list(operands[body.constants : first]), list(operands[first:]), **settings)
    return [*carried, *stacked]


def same_program(a: Any, b: Any) -> bool:
    """Return whether two closed jaxprs have the same equations and constants, and call no function of Python."""
    if any("callback" in name for name in primitives_inside(a.jaxpr)) or str(a.jaxpr) != str(b.jaxpr):
        return False
    pairs = zip([*a.consts, *_literals(a.jaxpr)], [*b.consts, *_literals(b.jaxpr)], strict=True)
    return all(x is y or np.array_equal(_numbers(x), _numbers(y), equal_nan=True) for x, y in pairs)


def _literals(jaxpr: Any) -> list:
    """List the constants in the equations of a jaxpr, which its text abbreviates."""
    found = []
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        found += [v.val for v in equation.invars if isinstance(v, core.Literal)]
        for value in jax.tree.leaves(list(equation.params.values())):
            found += getattr(value, "consts", ())
        for inside in core.jaxprs_in_params(equation.params):
            found += _literals(inside)
    return found


def _numbers(constant: Any) -> np.ndarray:
    is_key = jnp.issubdtype(getattr(constant, "dtype", float), jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(constant) if is_key else constant, np.float64)


def primitives_inside(jaxpr: Any) -> set[str]:
    """Return the names of the primitives in a jaxpr, including those inside loops, branches and custom rules."""
    names: set[str] = set()
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        inside = map(primitives_inside, core.jaxprs_in_params(equation.params))
        names |= {equation.primitive.name}.union(*inside)
    return names


def multiplications(jaxpr: Any) -> int:
    """Count the multiplications in the matrix products and convolutions of a jaxpr, a loop's once."""
    total = 0
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        kind, shapes = equation.primitive.name, [v.aval.shape for v in (*equation.invars, *equation.outvars)]
        if kind == "dot_general":
            total += math.prod(shapes[-1]) * math.prod(shapes[0][i] for i in equation.params["dimension_numbers"][0][0])
        elif kind == "conv_general_dilated":
            units = shapes[1][equation.params["dimension_numbers"].rhs_spec[0]]
            total += math.prod(shapes[-1]) * math.prod(shapes[1]) // max(units, 1)
        total += sum(map(multiplications, core.jaxprs_in_params(equation.params)))
    return total


def functions_of_custom_jvp(jaxpr: Any) -> list[str]:
    """List the files of the functions in a jaxpr that have a rule of custom_jvp."""
    found = []
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        if equation.primitive.name in CUSTOM_JVP:
            called = equation.params["call_jaxpr"]
            found.append(getattr(called, "jaxpr", called).debug_info.func_filename or "")
        for inside in core.jaxprs_in_params(equation.params):
            found += functions_of_custom_jvp(inside)
    return found
