"""Each example's own gradient g_i, its norm and its inner products with the others'.

The gradient of example i's own loss with respect to W[l] is the outer product dz_i[l] a_i[l-1]^T, with respect to b[l]
it is dz_i[l]; so norms and inner products of gradients are products of those of their factors, and no gradient has to
be written out. Goodfellow, Efficient per-example gradient computations (2015), arXiv:1510.01799.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from manual_bp._network import Layer, Params
from manual_bp._products import accumulator, inner_products
from manual_bp._record import Record, check_record


@jax.jit
def per_example_gradients(record: Record) -> Params:
    """Every example's own gradient, written out: dW_i[l] = dz_i[l] a_i[l-1]^T and db_i[l] = dz_i[l].

    m times the memory of the parameters; the other quantities do without it. Their mean under the record's weights is
    the gradient.

    Args:
        record: of `bp.backpropagate`.

    Returns:
        A tuple of L layers, dW of shape (m, n_l, n_{l-1}) and db of shape (m, n_l, 1), in the parameters' dtype.
    """
    check_record(record)
    return tuple(
        Layer(W=jnp.einsum("im,jm->mij", dZ, A), b=jnp.einsum("im->mi", dZ)[:, :, None])
        for A, dZ in zip(record.A[:-1], record.dZ[1:], strict=True)
    )


@jax.jit
def per_example_norms(record: Record) -> Float[Array, " m"]:
    """The norm of every example's own gradient: |g_i|^2 = sum_l (|a_i[l-1]|^2 + 1) |dz_i[l]|^2.

    Args:
        record: of `bp.backpropagate`. Its weights have no part in this: g_i is the gradient of loss i alone.

    Returns:
        Shape (m,), in float32 at least, where squares underflow: |dz| below some 1e-19 counts as 0.
    """
    return jnp.linalg.norm(per_example_layer_norms(record), axis=1)


@jax.jit
def per_example_layer_norms(record: Record) -> Float[Array, "m L"]:
    """The same for each layer's parameters apart: (|a_i[l-1]|^2 + 1)^(1/2) |dz_i[l]|, shape (m, L)."""
    check_record(record)
    return jnp.stack(
        [
            jnp.sqrt(_squared_norms(A) + 1) * jnp.sqrt(_squared_norms(dZ))
            for A, dZ in zip(record.A[:-1], record.dZ[1:], strict=True)
        ],
        axis=1,
    )


@jax.jit
def gram_matrix(record: Record) -> Float[Array, "m m"]:
    """Inner products between the examples' own gradients: g_i . g_j = sum_l (a_i . a_j + 1)[l-1] (dz_i . dz_j)[l].

    Args:
        record: of `bp.backpropagate`. Its weights have no part in this.

    Returns:
        Shape (m, m), in float32 at least. Its diagonal holds the squares of `bp.per_example_norms`.
    """
    check_record(record)
    dtype = accumulator(record.cost.dtype)
    columns = [(A.astype(dtype), dZ.astype(dtype)) for A, dZ in zip(record.A[:-1], record.dZ[1:], strict=True)]
    return sum(((inner_products(A) + 1) * inner_products(dZ) for A, dZ in columns), start=jnp.zeros((), dtype))


def _squared_norms(X: Float[Array, "n m"]) -> Float[Array, " m"]:
    """Every column's |x|^2, in float32 at least."""
    return jnp.sum(jnp.square(X.astype(accumulator(X.dtype))), axis=0)
