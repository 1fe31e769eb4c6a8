"""The output of a network, where the backward pass starts: losses, dZ[L], weights and the normaliser."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from manual_bp._activations import Activation, activation_backward
from manual_bp._costs import is_index, one_hot
from manual_bp._machine.precision import accumulator
from manual_bp._network import Network

Targets = Float[Array, "n m"] | Integer[Array, " m"]
Weights = Float[Array, "1 m"] | Float[Array, ""] | float
Present = Bool[Array, "1 m"] | Bool[Array, " m"] | Bool[Array, ""] | None


def losses_of(network: Network, A: list, Z: list, Y: Targets) -> Float[Array, " m"]:
    """The loss of each example, from Z[L] where the cost is collapsed with the output activation."""
    cost, (Z_L, A_L, Y) = network.cost, output_in_float32(A, Z, Y)
    return cost.matched.loss(Z_L, Y) if cost.matched else cost.loss(A_L, Y)


def mean_loss(losses: Float[Array, " m"], weights: Float[Array, "1 m"] | None) -> Float[Array, ""]:
    """C = sum_i w_i loss_i / sum_i w_i; the plain mean without weights."""
    total = jnp.sum(losses) if weights is None else jnp.sum(select(losses[None, :] * weights, weights != 0))
    return normalizer(weights, len(losses)) * total


def normalizer(weights: Float[Array, "1 m"] | None, m: int) -> Float[Array, ""] | float:
    """One over the sum of the weights: 1/m without weights, 0 where every weight is zero."""
    if weights is None:
        return 1 / m
    present = jnp.any(weights != 0)
    return select(1 / jnp.where(present, jnp.sum(weights), 1), present)


def output_derivatives(
    network: Network, A: list, Z: list, Y: Targets, w: Weights = 1.0, present: Present = None
) -> tuple[Float[Array, "n m"], Float[Array, "n m"]]:
    """dA[L] and dZ[L] times w, and 0 for examples that are not `present`.

    dZ[L] is in closed form, such as A - Y, where the cost is collapsed with the output activation.
    """
    cost, (Z_L, A_L, Y) = network.cost, output_in_float32(A, Z, Y)
    columns = one_hot(Y, A_L) if is_index(Y) else Y
    dA_L = select(cost.dA(A_L, columns) * w, present).astype(A[-1].dtype)
    if cost.matched:
        return dA_L, select(cost.matched.dZ(Z_L, A_L, Y) * w, present).astype(Z[-1].dtype)
    return dA_L, select(activation_backward(network.output, dA_L, Z[-1], A[-1]), present)


def target_derivative(
    network: Network, A: list, Z: list, Y: Float[Array, "n m"], w: Weights, present: Present
) -> Float[Array, "n m"]:
    """The derivative of each example's loss with respect to its targets, times w; 0 where the cost has none."""
    cost, (Z_L, A_L, Y) = network.cost, output_in_float32(A, Z, Y)
    if cost.matched:
        return select(cost.matched.dY(Z_L, Y) * w, present)
    return select(cost.dY(A_L, Y) * w, present) if cost.dY else jnp.zeros_like(Y)


def target_gradient_refused(network: Network, Y: Array) -> Array:
    """Y, of which no derivative can be taken."""

    def backward(_: None, dY: Array) -> tuple[Array]:
        raise TypeError(
            f"the derivative with respect to Y was asked for, and cost {network.cost} has no dY; pass one to bp.Cost"
        )

    unchanged = jax.custom_vjp(lambda Y: Y)
    unchanged.defvjp(lambda Y: (Y, None), backward)
    return unchanged(Y)


def without_absent(activations: Sequence[Activation], present: Present) -> Sequence[Activation]:
    """The activations with g' = 0 at an absent example, so that no dZ[l] of it reaches another example.

    This is the mask D of dropout, for the whole column: dZ[l] = dA[l] * D * g[l]'(Z[l]). The output activation is left
    out, since `output_derivatives` selects there.
    """
    if present is None:
        return activations

    def masked(g: Activation) -> Activation:
        g_prime: Any = g.g_prime
        return replace(g, g_prime=lambda Z, A: select(g_prime(Z, A), present))

    return (*map(masked, activations[:-1]), activations[-1])


def select(d: Array, present: Present) -> Array:
    """d, and 0 for an absent example: selected, not multiplied, so that its NaN stays its own."""
    return d if present is None else jnp.where(present, d, 0)


def select_targets(Y: Array, present: Present) -> Array:
    """Y, and 0 for an absent example."""
    return select(Y, present if present is None or Y.ndim == 2 else present[0])


def output_in_float32(A: list, Z: list, Y: Targets) -> tuple[Array, Array, Array]:
    """Z[L], A[L] and a float Y in float32 at least, since a loss rounded to bfloat16 says little."""
    dtype = accumulator(A[-1].dtype)
    return Z[-1].astype(dtype), A[-1].astype(dtype), Y if is_index(Y) else Y.astype(dtype)
