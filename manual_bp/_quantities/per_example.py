"""Each example's own gradient g_i, its norm and its inner products with the others'.

The gradient of example i's own loss with respect to W[l] is the outer product dz_i[l] a_i[l-1]^T, with respect to b[l]
it is dz_i[l]; so norms and inner products of gradients are products of those of their factors, and no gradient has to
be written out. Goodfellow, Efficient per-example gradient computations (2015), arXiv:1510.01799.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from manual_bp._machine.precision import accumulator
from manual_bp._machine.products import inner_products
from manual_bp._network import Layer, Params
from manual_bp._record import Record, check_record


@jax.jit
def per_example_gradients(record: Record) -> Params:
    """Every example's own gradient, written out: dW_i[l] = dz_i[l] a_i[l-1]^T and db_i[l] = dz_i[l].

    They take m times the memory of the parameters, which no other quantity here does. Their mean under the record's
    weights is the gradient.

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
        Shape (m,), in float32 at least. Infinite where |a| overflows when squared, beyond some 1e19 in float32.
    """
    return _norms(per_example_layer_norms(record).T)


@jax.jit
def per_example_layer_norms(record: Record) -> Float[Array, "m L"]:
    """The norms of `bp.per_example_norms` for each layer's parameters apart: (|a_i[l-1]|^2 + 1)^(1/2) |dz_i[l]|.

    Args:
        record: of `bp.backpropagate`. Its weights have no part in this.

    Returns:
        Shape (m, L), in float32 at least.
    """
    check_record(record)
    return jnp.stack(
        [
            jnp.sqrt(jnp.sum(jnp.square(_wide(A)), axis=0) + 1) * _norms(_wide(dZ))
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
    columns = [(_wide(A), _wide(dZ)) for A, dZ in zip(record.A[:-1], record.dZ[1:], strict=True)]
    first, *rest = ((inner_products(A) + 1) * inner_products(dZ) for A, dZ in columns)
    return sum(rest, start=first)


def _wide(X: Float[Array, "n m"]) -> Float[Array, "n m"]:
    return X.astype(accumulator(X.dtype))


def _norms(X: Float[Array, "n m"]) -> Float[Array, " m"]:
    """Every column's norm. Scaled by its largest element, so that no square underflows: a norm of 0 clips nothing."""
    largest = jnp.max(jnp.abs(X), axis=0)
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    return scale * jnp.sqrt(jnp.sum(jnp.square(X / scale), axis=0))
