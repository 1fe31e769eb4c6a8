"""The exact diagonal of the Gauss-Newton matrix, from one backward pass for each output."""

import jax
import jax.numpy as jnp

from manual_bp._equations import NONE
from manual_bp._network import Params
from manual_bp._quantities.hessian_roots import sum_over_roots
from manual_bp._quantities.reduction import Reduction, reduce
from manual_bp._record import Record, check_record, sum_over_examples


def gauss_newton_diagonal(record: Record, reduction: Reduction = "mean") -> Params:
    """Compute the diagonal of G = sum_i w_i J_i^T H_i J_i, in the shape of the parameters.

    H_i = sum_k s_k s_k^T. If dZ is the backward pass from s_k, the diagonal with respect to Z[l] is the sum of squares
    h[l] = sum_k dZ[l]^2. The diagonal with respect to W[l] is (h[l] * w) (A[l-1]^2)^T, as the Jacobian with respect to
    W[l] is that with respect to Z[l] times A[l-1]. J and H are those of `bp.gauss_newton_product`. For a cross-entropy,
    G is also the Fisher matrix. Dangel et al., BackPACK: packing more into backprop (2020), arXiv:1912.10985.

    Args, Returns: those of `bp.second_moment`.

    Raises:
        TypeError, ValueError: a cost without `hessian_root`; an unknown reduction.

    Example:
        >>> network = bp.Network((2, 3, 1), output="sigmoid")
        >>> params = bp.init(network, jax.random.key(0))
        >>> record = bp.backpropagate(network, params, jnp.ones((2, 5)), jnp.zeros((1, 5)))
        >>> [bool((h.W >= 0).all()) for h in bp.gauss_newton_diagonal(record)]
        [True, True]
    """
    check_record(record)
    return reduce(record, _diagonal(record), reduction)


@jax.jit
def _diagonal(record: Record) -> Params:
    h = sum_over_roots(record, lambda dZ: [jnp.square(d) for d in dZ[1:]])
    return sum_over_examples(record, [jnp.square(A) for A in record.A], [NONE, *h])
