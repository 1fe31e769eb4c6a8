"""The derivative of every output with respect to every weighted input, and the loss's Hessian applied to it."""

import jax
import jax.numpy as jnp

from manual_bp import _equations as equations
from manual_bp._activations import activation_backward
from manual_bp._curvature.loss_hessian import loss_hessian
from manual_bp._record import Record


def output_jacobian(record: Record) -> tuple[list, list]:
    """B[l] and H B[l] of layers 0 to L, shape (n_L, n_l, m); both None at 0.

    B[l]_k is the derivative with respect to Z[l] of output k: of Z[L] where the cost is collapsed, of A[L] otherwise.
    H mixes outputs, so that sum_k B_k (H B)_k^T = J^T H J for each example.
    """
    network, A, Z = record.network, record.A, record.Z
    n, m = A[-1].shape
    identity = jnp.broadcast_to(jnp.eye(n, dtype=A[-1].dtype)[:, :, None], (n, n, m))

    def back_from(e_k: jax.Array) -> list:
        dZ_L = e_k if network.cost.collapsed else activation_backward(network.output, e_k, Z[-1], A[-1])
        return equations.back_through_layers(network, record.params, A, Z, dZ_L)[1]

    B = jax.vmap(back_from)(identity)
    over_units = jax.vmap(loss_hessian(record), in_axes=1, out_axes=1)
    return B, [equations.NONE, *(over_units(b) for b in B[1:])]
