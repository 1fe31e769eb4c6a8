"""Equations with a relative error in each result, as rounding leaves it, but of a size that can be measured."""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import jax
import jax.numpy as jnp

from manual_bp.checker.graph.arguments import is_float
from manual_bp.checker.graph.jaxpr_walk import CALLS, CUSTOM_JVP, apply_equation, walk

# what does not round: moves, comparisons, choices
EXACT = frozenset(
    "abs argmax argmin broadcast_in_dim concatenate convert_element_type copy dynamic_slice dynamic_update_slice "
    "expand_dims gather iota max min name neg pad reduce_max reduce_min reshape rev select_n sign slice sort squeeze "
    "stop_gradient transpose".split()
)
PRIMES = {"tanh": lambda y: 1 - y * y, "logistic": lambda y: y * (1 - y)}


def noisy_equations(size: Any, draw: Any) -> Callable[[Any, Sequence], Sequence]:
    """Make an apply_equation whose results are multiplied by 1 + noise or 1 - noise, by equation, element and draw."""
    numbers = count(1)

    def apply(equation: Any, operands: Sequence) -> Sequence:
        if equation.primitive.name == "scan":
            return _scan(equation, operands, apply)
        if equation.primitive.name in CUSTOM_JVP:
            return walk(equation.params["call_jaxpr"], operands, lambda n, inner, inputs: apply(inner, inputs), CALLS)
        outputs = apply_equation(equation, operands)
        if equation.primitive.name in EXACT:
            return outputs
        outputs = [_with_noise(o, size, next(numbers) * (1 + draw)) for o in outputs]
        if equation.primitive.name == "div":
            # its derivative by b, -a / b^2, is written as -y / b, and y is rounded: at saturation, 1 - y is left
            (a, b), (y,) = operands, jax.lax.stop_gradient(outputs)
            da, db = a - jax.lax.stop_gradient(a), b - jax.lax.stop_gradient(b)
            return [y + (da - y * db) / jax.lax.stop_gradient(b)]
        if equation.primitive.name in PRIMES:
            # written by hand, g' is computed from the rounded result, where autodiff has its own
            (x,), (y,) = operands, jax.lax.stop_gradient(outputs)
            return [y + PRIMES[equation.primitive.name](y) * (x - jax.lax.stop_gradient(x))]
        return outputs

    return apply


def _with_noise(value: Any, size: Any, number: Any) -> Any:
    if not is_float(value):
        return value
    # the golden angle, so that no pattern of the signs fits one of the axes
    noise = jnp.sign(jnp.cos(number + 2.399963 * jax.lax.iota(jnp.float32, value.size))).reshape(value.shape)
    return value * (1 + size * noise).astype(value.dtype)


def _scan(equation: Any, operands: Sequence, apply: Callable) -> Sequence:
    body, params = equation.params["jaxpr"], equation.params
    # what has an axis more outside of the body than in it is scanned; JAX's versions count the rest in other ways
    scanned = sum(v.aval.shape != w.aval.shape for v, w in zip(equation.invars, body.jaxpr.invars, strict=True))
    carry = sum(v.aval.shape == w.aval.shape for v, w in zip(equation.outvars, body.jaxpr.outvars, strict=True))
    first, last = len(operands) - scanned - carry, len(operands) - scanned

    def step(carried: Sequence, x: Sequence) -> tuple:
        given = [*operands[:first], *carried, *x]
        found = walk(body, given, lambda n, inner, inputs: apply(inner, inputs), CALLS)
        return found[:carry], found[carry:]

    end, each = jax.lax.scan(step, [*operands[first:last]], [*operands[last:]], params["length"], params["reverse"])
    return [*end, *each]
