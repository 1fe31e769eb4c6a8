"""The diagonal of the Gauss-Newton matrix, exact, from one backward pass for each output."""

import jax
import jax.numpy as jnp

from manual_bp._equations import NONE
from manual_bp._network import Params
from manual_bp._quantities.hessian_roots import sum_over_roots
from manual_bp._quantities.reduction import Reduction, reduce
from manual_bp._record import Record, check_record, sum_over_examples


def gauss_newton_diagonal(record: Record, reduction: Reduction = "mean") -> Params:
    """The diagonal of G = sum_i w_i J_i^T H_i J_i, in the shape of the parameters.

    H_i is a sum of s_k s_k^T over k, the diagonal with respect to Z[l] a sum of squares: h[l] = sum_k dZ[l]^2, dZ being
    what the backward pass makes of s_k. With respect to W[l] it is (h[l] * w) (A[l-1]^2)^T, since the Jacobian with
    respect to W[l] is that with respect to Z[l] times A[l-1]. J and H are those of `bp.gauss_newton_product`; for the
    cross-entropies G is also the Fisher matrix. Dangel et al., BackPACK: packing more into backprop (2020),
    arXiv:1912.10985.

    Args:
        record: of `bp.backpropagate`.
        reduction: "mean" over the examples under their weights, or "sum": that times `record.total_weight`.

    Returns:
        A tuple of L layers like the parameters.
    """
    check_record(record)
    return reduce(record, _diagonal(record), reduction)


@jax.jit
def _diagonal(record: Record) -> Params:
    h = sum_over_roots(record, lambda dZ: [jnp.square(d) for d in dZ[1:]])
    return sum_over_examples(record, [jnp.square(A) for A in record.A], [NONE, *h])
