"""The equations of backpropagation, as the textbook has them.

Columns are examples: m of them, layers l = 1..L, A[0] = X. Lists run from 0 to L, so that indices read as on paper;
dA[l] and dZ[l] are derivatives of each example's own loss.

    forward    Z[l] = W[l] A[l-1] + b[l]          A[l] = g[l](Z[l])
    backward   dZ[L] = dA[L] * g[L]'(Z[L])        collapsed to A - Y where cost and output activation match
               dZ[l] = dA[l] * g[l]'(Z[l])        dA[l-1] = W[l]^T dZ[l]
               dW[l] = (dZ[l] * w) A[l-1]^T       db[l] = sum over examples of dZ[l] * w

The example weights w, of shape (1, m), sum to 1. The backward lines are linear in the derivative they start from, so w
may enter at the end, as written, or at the start: `backward` takes it as `w`, the derivative of the cost with respect
to each example's loss. With w = 1, its default, it gives the equations above, with w the same quantities times w, and
then dW[l] = dZ[l] A[l-1]^T. Nielsen, Neural Networks and Deep Learning (2015), ch. 2; Goodfellow et al., Deep Learning
(2016), sec. 6.5.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from manual_bp._activations import activation_backward, activation_forward
from manual_bp._costs import is_index, one_hot
from manual_bp._machine.products import accumulator, back_through_weights, weight_gradient, weighted_input
from manual_bp._network import Layer, Network, Params

Targets = Float[Array, "n m"] | Integer[Array, " m"]
Weights = Float[Array, "1 m"] | Float[Array, ""] | float
Present = Bool[Array, "1 m"] | Bool[Array, " m"] | Bool[Array, ""] | None


def forward(network: Network, params: Params, X: Float[Array, "n0 m"]) -> tuple[list, list]:
    """A[0..L] and Z[0..L]; Z[0] is None."""
    L, g = len(params), by_layer(network.activations)
    W, b = weights_and_biases(params)
    A, Z = [X], [NONE]
    for l in range(1, L + 1):
        Z.append(weighted_input(W[l], A[l - 1]) + b[l])
        A.append(activation_forward(g[l], Z[l]))
    return A, Z


def example_losses(network: Network, A: list, Z: list, Y: Targets) -> Float[Array, " m"]:
    """Each example's own loss, from Z[L] where the cost is collapsed with the output activation."""
    cost = network.cost
    Z_L, A_L, Y = output_stage(A, Z, Y)
    return cost.collapsed.loss(Z_L, Y) if cost.collapsed else cost.loss(A_L, Y)


def mean_loss(losses: Float[Array, " m"], weights: Float[Array, "1 m"] | None) -> Float[Array, ""]:
    """C = sum_i w_i loss_i, from weights of any sum; their mean unless given."""
    total = jnp.sum(losses) if weights is None else jnp.sum(select(losses[None, :] * weights, weights != 0))
    return normalizer(weights, len(losses)) * total


def normalizer(weights: Float[Array, "1 m"] | None, m: int) -> Float[Array, ""] | float:
    """One over the sum of the weights: 1/m unless given, 0 where every weight is zero."""
    if weights is None:
        return 1 / m
    present = jnp.any(weights != 0)
    return select(1 / jnp.where(present, jnp.sum(weights), 1), present)


def backward(
    network: Network, params: Params, A: list, Z: list, Y: Targets, w: Weights = 1.0, present: Present = None
) -> tuple[list, list]:
    """dA[0..L] and dZ[0..L] times w, and 0 for examples that are not `present`; dZ[0] is None."""
    g_L, cost = network.output, network.cost
    Z_L, A_L, Y = output_stage(A, Z, Y)
    columns = one_hot(Y, A_L) if is_index(Y) else Y
    dA_L = select(cost.dA(A_L, columns) * w, present).astype(A[-1].dtype)
    if cost.collapsed:
        dZ_L = select(cost.collapsed.dZ(Z_L, A_L, Y) * w, present).astype(Z[-1].dtype)
    else:
        dZ_L = select(activation_backward(g_L, dA_L, Z[-1], A[-1]), present)
    dA, dZ = back_through_layers(network, params, A, Z, dZ_L, present)
    return [*dA, dA_L], dZ


def back_through_layers(
    network: Network, params: Params, A: list, Z: list, dZ_L: Float[Array, "n m"], present: Present = None
) -> tuple[list, list]:
    """dA[0..L-1] and dZ[0..L] of whatever has the derivative dZ[L]; dZ[0] is None."""
    L, g = len(params), by_layer(network.activations)
    W, _ = weights_and_biases(params)
    dA, dZ = [NONE] * L, [NONE] * L + [dZ_L]
    for l in range(L, 0, -1):
        dA[l - 1] = back_through_weights(W[l], dZ[l], A[l - 1])
        if l > 1:
            dZ[l - 1] = select(activation_backward(g[l - 1], dA[l - 1], Z[l - 1], A[l - 1]), present)
    return dA, dZ


def gradient_sums(params: Params, A: list, dZ: list, X_in_rows: bool = False) -> Params:
    """dW[l] = dZ[l] A[l-1]^T and db[l] = sum of the columns of dZ[l]: sums over examples, in float32 at least."""
    W, _ = weights_and_biases(params)
    return tuple(
        Layer(
            W=weight_gradient(dZ[l], A[l - 1], W[l], X_in_rows and l == 1),
            b=jnp.sum(dZ[l], axis=1, keepdims=True, dtype=accumulator(dZ[l].dtype)),
        )
        for l in range(1, len(params) + 1)
    )


def target_derivative(
    network: Network, A: list, Z: list, Y: Float[Array, "n m"], w: Weights, present: Present
) -> Float[Array, "n m"]:
    """The derivative of each example's loss with respect to its targets, times w; 0 where the cost has none."""
    cost = network.cost
    Z_L, A_L, Y = output_stage(A, Z, Y)
    if cost.collapsed:
        return select(cost.collapsed.dY(Z_L, Y) * w, present)
    return select(cost.dY(A_L, Y) * w, present) if cost.dY else jnp.zeros_like(Y)


def select(d: Array, present: Present) -> Array:
    """d, and 0 for an absent example: selected, not multiplied, so that its NaN stays its own."""
    return d if present is None else jnp.where(present, d, 0)


# What stands at index 0 where layers are counted from 1
NONE: Any = None


def by_layer(values: Sequence) -> list:
    """Values of layers 1 to L at those indices."""
    return [NONE, *values]


def weights_and_biases(params: Params) -> tuple[list, list]:
    return by_layer([W for W, _ in params]), by_layer([b for _, b in params])


def output_stage(A: list, Z: list, Y: Targets) -> tuple[Array, Array, Array]:
    """Z[L], A[L] and a float Y in float32 at least: a loss rounded to bfloat16 says little."""
    dtype = accumulator(A[-1].dtype)
    return Z[-1].astype(dtype), A[-1].astype(dtype), Y if is_index(Y) else Y.astype(dtype)
