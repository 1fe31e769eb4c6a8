"""Sums over a square root S of the loss's Hessian H, one backward pass at a time.

H = sum_k S[k] S[k]^T. If d_k is the backward pass from S[k], then J^T H J = sum_k d_k d_k^T. Dangel et al., BackPACK:
packing more into backprop (2020), arXiv:1912.10985.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from manual_bp import _output as output
from manual_bp._checks import functions
from manual_bp._quantities.loss_hessian import back_from_output
from manual_bp._record import Record


def sum_over_roots(record: Record, term: Callable[[list], Any]) -> Any:
    """The sum over k of `term(dZ)`, where dZ[0..L] is the backward pass from S[k]."""
    root = functions.loss_hessian_root(record.network, len(record.losses), record.cost.dtype)
    Z_L, A_L, Y = output.output_in_float32(record.A, record.Z, record.Y)
    S = root(Z_L, A_L, Y) if record.network.cost.matched else root(A_L, Y)

    def of(S_k: Array) -> Any:
        return term(back_from_output(record, S_k.astype(record.cost.dtype)))

    # One pass after another, so that the memory needed is that of one
    total, _ = lax.scan(lambda total, S_k: (jax.tree.map(jnp.add, total, of(S_k)), None), of(S[0]), S[1:])
    return total
