"""The oracle by autodiff: a separate forward pass and losses, differentiated by JAX.

Activations come from `jax.nn` and losses from `optax.losses`. `cost` has examples in columns, as the equations do, and
`cost_of_rows` in rows, as most JAX code does. Both are written without regard to the backward pass, and are the
baselines of the benchmarks.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

ACTIVATIONS = {
    "identity": lambda Z: Z,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "elu": jax.nn.elu,
    "softplus": jax.nn.softplus,
    "silu": jax.nn.silu,
    "gelu": jax.nn.gelu,
    "softmax": lambda Z: jax.nn.softmax(Z, axis=0),
}

Params = Sequence[tuple[Array, Array]]


class Model(NamedTuple):
    """A network described by its sizes and the names of its activations and its cost."""

    sizes: tuple[int, ...]
    hidden: str | tuple[str, ...] = "relu"
    output: str = "softmax"
    cost: str = "cross_entropy"

    @property
    def activations(self) -> tuple[str, ...]:
        L = len(self.sizes) - 1
        return ((self.hidden,) * (L - 1) if isinstance(self.hidden, str) else self.hidden) + (self.output,)


def cost(model: Model, params: Params, X: Array, Y: Array, weights: Array | None = None) -> Array:
    """Compute the weighted mean of the examples' losses; X is (n_0, m), Y (n_L, m) or class indices (m,)."""
    return _mean(losses(model, forward(model, params, X)[1][-1], Y), weights)


def cost_of_rows(model: Model, params: Params, X: Array, Y: Array, weights: Array | None = None) -> Array:
    """Compute `cost` with examples in rows: X is (m, n_0), Y (m, n_L) or class indices (m,); the same params."""
    *hidden, (W_L, b_L) = params
    A = X
    for g, (W, b) in zip(model.activations[:-1], hidden, strict=True):
        A = ACTIVATIONS[g](A @ W.T + b[:, 0])
    Z = A @ W_L.T + b_L[:, 0]
    if model.cost == "cross_entropy" and model.output == "softmax":
        integer = jnp.issubdtype(Y.dtype, jnp.integer)
        loss = optax.losses.softmax_cross_entropy_with_integer_labels if integer else optax.losses.softmax_cross_entropy
        return _mean(loss(Z, Y), weights)
    return _mean(losses(model, Z.T, Y.T), weights)


def intermediates(model: Model, params: Params, X: Array, Y: Array) -> tuple[list[Array], list[Array]]:
    """Compute dA[0..L] and dZ[1..L], the derivatives of each example's own loss by every intermediate.

    A zero is added to each intermediate, and the sum of the losses is differentiated by the zeros. Examples do not mix,
    so column i is the derivative of loss i. If the output activation and the loss are combined, dA[L] is differentiated
    separately, from the loss as a function of A[L].
    """
    m = X.shape[1]
    zeros = [jnp.zeros((n, m), X.dtype) for n in model.sizes]

    def total(zeros_A: list[Array], zeros_Z: list[Array]) -> Array:
        return jnp.sum(losses(model, forward(model, params, X, zeros_A, zeros_Z)[1][-1], Y))

    dA, dZ = jax.grad(total, argnums=(0, 1))(zeros, zeros[1:])
    A = forward(model, params, X)[0][-1]
    dA[-1] = jax.grad(lambda A: jnp.sum(losses_of_output(model, A, Y)))(A)
    return dA, dZ


def forward(
    model: Model, params: Params, X: Array, zeros_A: list[Array] | None = None, zeros_Z: list[Array] | None = None
) -> tuple[list[Array], list[Array]]:
    """Compute A[0..L] and Z[1..L], each plus its zero."""
    A, Z = [X if zeros_A is None else X + zeros_A[0]], []
    for i, (g, (W, b)) in enumerate(zip(model.activations, params, strict=True)):
        Z.append(W @ A[-1] + b + (0 if zeros_Z is None else zeros_Z[i]))
        A.append(ACTIVATIONS[g](Z[-1]) + (0 if zeros_A is None else zeros_A[i + 1]))
    return A, Z


def losses(model: Model, Z: Array, Y: Array) -> Array:
    """Compute each example's loss from Z[L], cross-entropies as functions of the logits."""
    if model.cost != "cross_entropy":
        return losses_of_output(model, ACTIVATIONS[model.output](Z), Y)
    if model.output == "sigmoid":
        return jnp.sum(optax.losses.sigmoid_binary_cross_entropy(Z, Y), axis=0)
    if jnp.issubdtype(Y.dtype, jnp.integer):
        return optax.losses.softmax_cross_entropy_with_integer_labels(Z, Y, axis=0)
    return optax.losses.softmax_cross_entropy(Z, Y, axis=0)


def losses_of_output(model: Model, A: Array, Y: Array) -> Array:
    """Compute each example's loss from A[L]."""
    if model.cost == "squared_error":
        return jnp.sum(optax.losses.squared_error(A, Y), axis=0)
    if model.cost == "absolute_error":
        # jnp.abs has derivative 1 at 0; a tie counts as 0 here
        return jnp.sum(jnp.where(A == Y, 0, jnp.abs(A - Y)), axis=0)
    if model.output == "sigmoid":
        return -jnp.sum(Y * jnp.log(A) + (1 - Y) * jnp.log(1 - A), axis=0)
    if jnp.issubdtype(Y.dtype, jnp.integer):
        Y = jax.nn.one_hot(Y, len(A), axis=0, dtype=A.dtype)
    return -jnp.sum(Y * jnp.log(A), axis=0)


def _mean(losses: Array, weights: Array | None) -> Array:
    return jnp.mean(losses) if weights is None else jnp.sum(weights * losses) / jnp.sum(weights)
