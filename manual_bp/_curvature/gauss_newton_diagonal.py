"""The diagonal of the Gauss-Newton matrix, exact, from one backward pass for each output."""

import jax
import jax.numpy as jnp

from manual_bp._curvature.output_jacobian import output_jacobian
from manual_bp._equations import NONE
from manual_bp._network import Params
from manual_bp._quantities.reduction import Reduction, reduce
from manual_bp._record import Record, check_record, sum_over_examples


def gauss_newton_diagonal(record: Record, reduction: Reduction = "mean") -> Params:
    """The diagonal of G = sum_i w_i J_i^T H_i J_i, in the shape of the parameters.

    With B[l], shape (n_L, n_l, m), the derivative of every output with respect to Z[l], the diagonal with respect to
    Z[l] is h[l] = sum_k B[l]_k * (H B[l])_k, and with respect to W[l] it is (h[l] * w) (A[l-1]^2)^T, since the Jacobian
    with respect to W[l] is that with respect to Z[l] times A[l-1]. J and H are those of `bp.gauss_newton_product`; for
    the cross-entropies G is also the Fisher matrix. Dangel et al., BackPACK: packing more into backprop (2020),
    arXiv:1912.10985.

    Args:
        record: of `bp.backpropagate`. Memory is n_L times that of its dZ; `bp.accumulate` bounds it.
        reduction: "mean" over the examples under their weights, or "sum": that times `record.total_weight`.

    Returns:
        A tuple of L layers like the parameters.
    """
    check_record(record)
    return reduce(record, _diagonal(record), reduction)


@jax.jit
def _diagonal(record: Record) -> Params:
    B, HB = output_jacobian(record)
    h = [NONE, *(jnp.sum(b * hb, axis=0) for b, hb in zip(B[1:], HB[1:], strict=True))]
    return sum_over_examples(record, [jnp.square(A) for A in record.A], h)
