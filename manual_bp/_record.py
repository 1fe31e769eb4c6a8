"""The record of one backward pass, and what follows from it."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from manual_bp import _equations as equations
from manual_bp import _validate as validate
from manual_bp._network import Network, Params
from manual_bp._products import accumulator, as_cotangent


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Record:
    """Every intermediate of one forward and backward pass.

    A, Z, dA and dZ are lists indexed 0 to L, each entry of shape (n_l, m); Z[0] and dZ[0] are None, A[0] is X and
    dA[0] the derivative with respect to X. dA and dZ are derivatives of each example's own loss, without 1/m.

    Attributes:
        losses: each example's own loss, shape (m,).
        weights: w, the example weights over their sum, shape (1, m); 1/m each unless given.
        cost: C = sum_i w_i loss_i, a scalar.
        params, network: what it was computed with.
    """

    A: list[Float[Array, "_ m"]]
    Z: list[Float[Array, "_ m"]]
    dA: list[Float[Array, "_ m"]]
    dZ: list[Float[Array, "_ m"]]
    losses: Float[Array, " m"]
    weights: Float[Array, "1 m"]
    cost: Float[Array, ""]
    params: Params
    network: Network


@jax.jit
def backpropagate(network: Network, params: Params, X: Array, Y: Array, weights: Array | None = None) -> Record:
    """One forward and backward pass, with every intermediate.

    dZ[L] = dA[L] * g[L]'(Z[L]), collapsed to A[L] - Y for a matched cross-entropy; dA[l-1] = W[l]^T dZ[l];
    dZ[l] = dA[l] * g[l]'(Z[l]). dA[L] is the textbook form, such as -Y/A + (1-Y)/(1-A), and infinite where A rounds to
    0 or 1; where the cost is collapsed nothing is computed from it.

    Inside `jax.jit` only what is used of the record is computed and kept.

    Args, Raises: those of `bp.cost`.
    """
    params, X, Y, weights = validate.arguments(network, params, X, Y, weights)
    A, Z = equations.forward(network, params, X)
    losses = equations.example_losses(network, A, Z, Y)
    dA, dZ = equations.backward(network, params, A, Z, Y)
    w = jnp.ones_like(losses)[None, :] if weights is None else weights
    return Record(
        A=A,
        Z=Z,
        dA=dA,
        dZ=dZ,
        losses=losses,
        weights=w * equations.normalizer(weights, X.shape[1]),
        cost=equations.mean_loss(losses, weights).astype(X.dtype),
        params=params,
        network=network,
    )


@jax.jit
def gradients(record: Record) -> Params:
    """The gradient of the record's cost: dW[l] = (dZ[l] * w) A[l-1]^T, db[l] = sum over examples of dZ[l] * w.

    Returns:
        A tuple of L layers, dW[l] and db[l] in the shapes and dtype of W[l] and b[l].
    """
    w, present, dtype = record.weights, record.weights != 0, accumulator(record.cost.dtype)
    A = [equations.select(A, present).astype(dtype) for A in record.A]
    dZ = [None, *(equations.select(dZ.astype(dtype) * w, present) for dZ in record.dZ[1:])]
    sums = equations.gradient_sums(record.params, A, dZ)
    return jax.tree.map(lambda d, p: as_cotangent(d.astype(p.dtype), p), sums, record.params)
