"""Equations with a relative error in each result, as rounding leaves it, but of a size that can be measured."""

from collections.abc import Sequence
from itertools import count
from typing import Any

import jax
import jax.numpy as jnp

from manual_bp.checker.graph.arguments import is_float
from manual_bp.checker.graph.jaxpr_walk import CALLS, CUSTOM_JVP, Visit, apply_equation, apply_scan, scan_body, walk

# what does not round: moves, comparisons, choices
EXACT = frozenset(
    "abs argmax argmin broadcast_in_dim concatenate convert_element_type copy dynamic_slice dynamic_update_slice "
    "expand_dims gather iota max min name neg pad reduce_max reduce_min reshape rev select_n sign slice sort squeeze "
    "stop_gradient transpose".split()
)
PRIMES = {"tanh": lambda y: 1 - y * y, "logistic": lambda y: y * (1 - y)}


def noisy_equations(size: Any, draw: Any) -> Visit:
    """Return the visit of a walk in which each result is multiplied by 1 + noise or 1 - noise, by element and draw."""
    numbers = count(1)

    def apply(n: int, equation: Any, operands: Sequence) -> Sequence:
        if body := scan_body(equation):
            return apply_scan(equation, body, operands, lambda inputs: walk(body.closed, inputs, apply, CALLS))
        if equation.primitive.name in CUSTOM_JVP:
            return walk(equation.params["call_jaxpr"], operands, apply, CALLS)
        outputs = apply_equation(equation, operands)
        if equation.primitive.name in EXACT:
            return outputs
        outputs = [with_noise(o, size, next(numbers) * (1 + draw)) for o in outputs]
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


def with_noise(value: Any, size: Any, number: Any) -> Any:
    if not is_float(value):
        return value
    # the golden angle, so that no pattern of the signs fits one of the axes
    noise = jnp.sign(jnp.cos(number + 2.399963 * jax.lax.iota(jnp.float32, value.size))).reshape(value.shape)
    return value * (1 + size * noise).astype(value.dtype)
