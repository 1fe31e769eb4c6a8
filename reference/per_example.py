"""Quantities of single examples by autodiff: vmap of grad, and everything computed from the m gradients.

This is the oracle of the quantities in manual_bp and the baseline of their benchmark. It is written without regard to
the backward pass, and holds m gradients in memory.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from reference import autodiff
from reference.autodiff import Model, Params


def gradients(model: Model, params: Params, X: Array, Y: Array) -> Any:
    """Compute every example's own gradient: params with a leading axis of length m."""

    def gradient(x: Array, y: Array) -> Any:
        return jax.grad(lambda p: autodiff.cost(model, p, x[:, None], y[..., None]))(params)

    return jax.vmap(gradient, in_axes=(1, -1))(X, Y)


def mean(grads: Any, w: Array) -> Any:
    """Compute sum_i w_i g_i, also for other trees with a leading axis of examples; weight 0 leaves an example out."""
    return jax.tree.map(lambda g: jnp.tensordot(w, jnp.where(_like(w, g) == 0, 0, g), 1), grads)


def layer_norms(grads: Any) -> Array:
    """Compute the norm of every example's gradient by each layer's parameters, shape (m, L)."""
    return jnp.sqrt(jnp.stack([sum(_square(leaf) for leaf in jax.tree.leaves(layer)) for layer in grads], axis=1))


def norms(grads: Any) -> Array:
    """Compute the norm of every example's gradient, shape (m,)."""
    return jnp.sqrt(jnp.sum(layer_norms(grads) ** 2, axis=1))


def clipped(grads: Any, w: Array, max_norm: float | Array | Sequence[Array]) -> Any:
    """Compute sum_i w_i g_i, with each g_i scaled down to norm C first, or layer by layer to C[l]."""
    if isinstance(max_norm, Sequence):
        factors = [jnp.minimum(1, C / n) for C, n in zip(max_norm, layer_norms(grads).T, strict=True)]
    else:
        factors = [jnp.minimum(1, max_norm / norms(grads))] * len(grads)
    scaled = tuple(jax.tree.map(lambda g, c=c: _like(c, g) * g, layer) for layer, c in zip(grads, factors, strict=True))
    return mean(scaled, w)


def gram_matrix(grads: Any) -> Array:
    """Compute the inner products between the examples' gradients, shape (m, m)."""
    flat = jnp.concatenate([g.reshape(len(g), -1) for g in jax.tree.leaves(grads)], axis=1)
    return flat @ flat.T


def second_moment(grads: Any, w: Array) -> Any:
    """Compute sum_i w_i g_i^2, element by element."""
    return mean(jax.tree.map(jnp.square, grads), w)


def variance(grads: Any, w: Array) -> Any:
    """Compute sum_i w_i (g_i - g)^2, element by element."""
    return mean(jax.tree.map(lambda g, mean: (g - mean) ** 2, grads, mean(grads, w)), w)


def noise_scale(grads: Any, w: Array) -> Array:
    """Estimate tr(S) / |G|^2 without bias: for weights 1/m, S divides by m - 1, and |G|^2 = |g|^2 - tr(S)/m."""
    effective = 1 / jnp.sum(w**2)
    trace = sum(jnp.sum(v) for v in jax.tree.leaves(variance(grads, w))) * effective / (effective - 1)
    square = sum(jnp.sum(g**2) for g in jax.tree.leaves(mean(grads, w)))
    return trace / (square - trace / effective)


def _like(rows: Array, g: Array) -> Array:
    """Reshape one number per example, to be multiplied with `g`."""
    return rows.reshape(-1, *[1] * (g.ndim - 1))


def _square(g: Array) -> Array:
    return jnp.sum(g.reshape(len(g), -1) ** 2, axis=1)
