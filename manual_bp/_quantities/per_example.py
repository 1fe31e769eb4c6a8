"""The gradient g_i of every example's own loss, its norm, and the inner products of the gradients.

The gradient of loss i is the outer product dz_i[l] a_i[l-1]^T with respect to W[l] and dz_i[l] with respect to b[l].
Its norms and inner products are therefore products of those of the two factors, and no gradient has to be stored.
Goodfellow, Efficient per-example gradient computations (2015), arXiv:1510.01799.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from manual_bp._jit import jit
from manual_bp._machine.precision import accumulator
from manual_bp._machine.products import inner_products
from manual_bp._network import Layer, Params
from manual_bp._record import Record, check_record


@jit
def per_example_gradients(record: Record) -> Params:
    """Compute the gradient of every example's own loss: dW_i[l] = dz_i[l] a_i[l-1]^T and db_i[l] = dz_i[l].

    The result takes m times the memory of the parameters; no other quantity does. Its mean under the record's weights
    is the gradient.

    Args:
        record: the record of `bp.backpropagate`.

    Returns:
        A tuple of L layers, dW of shape (m, n_l, n_{l-1}) and db of shape (m, n_l, 1), in the parameters' dtype.

    Example:
        >>> network = bp.Network((2, 3, 1), output="sigmoid")
        >>> params = bp.init(network, jax.random.key(0))
        >>> record = bp.backpropagate(network, params, jnp.ones((2, 5)), jnp.zeros((1, 5)))
        >>> [dW.shape for dW, db in bp.per_example_gradients(record)]
        [(5, 3, 2), (5, 1, 3)]
    """
    check_record(record)
    return tuple(
        Layer(W=jnp.einsum("im,jm->mij", dZ, A), b=jnp.einsum("im->mi", dZ)[:, :, None])
        for A, dZ in zip(record.A[:-1], record.dZ[1:], strict=True)
    )


@jit
def per_example_norms(record: Record) -> Float[Array, " m"]:
    """Compute the norm of every example's own gradient: |g_i|^2 = sum_l (|a_i[l-1]|^2 + 1) |dz_i[l]|^2.

    Args:
        record: the record of `bp.backpropagate`. Its weights are not used: g_i is the gradient of loss i alone.

    Returns:
        The norms, shape (m,), in float32 at least. A norm is infinite if the square of |a| overflows, which in float32
        happens above about 1e19.

    Example:
        >>> network = bp.Network((2, 3, 1), output="sigmoid")
        >>> params = bp.init(network, jax.random.key(0))
        >>> record = bp.backpropagate(network, params, jnp.ones((2, 5)), jnp.zeros((1, 5)))
        >>> bp.per_example_norms(record).shape
        (5,)
    """
    return _norms(per_example_layer_norms(record).T)


@jit
def per_example_layer_norms(record: Record) -> Float[Array, "m L"]:
    """Compute the norm of every example's own gradient layer by layer: (|a_i[l-1]|^2 + 1)^(1/2) |dz_i[l]|.

    Args:
        record: the record of `bp.backpropagate`. Its weights are not used.

    Returns:
        The norms, shape (m, L), in float32 at least.

    Example:
        >>> network = bp.Network((2, 3, 1), output="sigmoid")
        >>> params = bp.init(network, jax.random.key(0))
        >>> record = bp.backpropagate(network, params, jnp.ones((2, 5)), jnp.zeros((1, 5)))
        >>> bp.per_example_layer_norms(record).shape
        (5, 2)
    """
    check_record(record)
    pairs = zip(record.A[:-1], record.dZ[1:], strict=True)
    norms = [jnp.sqrt(jnp.sum(jnp.square(_wide(A)), axis=0) + 1) * _norms(_wide(dZ)) for A, dZ in pairs]
    return jnp.stack(norms, axis=1)


@jit
def gram_matrix(record: Record) -> Float[Array, "m m"]:
    """Compute the inner products of the examples' own gradients.

    g_i . g_j = sum_l (a_i[l-1] . a_j[l-1] + 1) (dz_i[l] . dz_j[l]).

    Args:
        record: the record of `bp.backpropagate`. Its weights are not used.

    Returns:
        The matrix, shape (m, m), in float32 at least. Its diagonal holds the squares of `bp.per_example_norms`.

    Example:
        >>> network = bp.Network((2, 3, 1), output="sigmoid")
        >>> params = bp.init(network, jax.random.key(0))
        >>> record = bp.backpropagate(network, params, jnp.ones((2, 5)), jnp.zeros((1, 5)))
        >>> bp.gram_matrix(record).shape
        (5, 5)
    """
    check_record(record)
    columns = [(_wide(A), _wide(dZ)) for A, dZ in zip(record.A[:-1], record.dZ[1:], strict=True)]
    first, *rest = ((inner_products(A) + 1) * inner_products(dZ) for A, dZ in columns)
    return sum(rest, start=first)


def _wide(X: Float[Array, "n m"]) -> Float[Array, "n m"]:
    return X.astype(accumulator(X.dtype))


def _norms(X: Float[Array, "n m"]) -> Float[Array, " m"]:
    """The norm of each column. The scaling keeps it from underflowing to 0, which would leave a gradient unclipped."""
    largest = jnp.max(jnp.abs(X), axis=0)
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    return scale * jnp.sqrt(jnp.sum(jnp.square(X / scale), axis=0))
