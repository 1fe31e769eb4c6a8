"""The record of one backward pass, and what follows from it."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from manual_bp import _equations as equations
from manual_bp import _output as output
from manual_bp._checks import arguments
from manual_bp._jit import jit
from manual_bp._kind import a_kind
from manual_bp._machine.precision import accumulator
from manual_bp._machine.sharding import as_cotangent
from manual_bp._network import Network, Params


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Record:
    """Every intermediate of one forward and backward pass.

    A, Z, dA and dZ are lists indexed 0 to L, each entry of shape (n_l, m); Z[0] and dZ[0] are None, A[0] is X and
    dA[0] the derivative with respect to X. dA and dZ are derivatives of each example's own loss, without 1/m.

    Attributes:
        losses: each example's own loss, shape (m,).
        weights: w, the example weights over their sum, shape (1, m); 1/m each unless given.
        total_weight: that sum, a scalar; m unless given.
        cost: C = sum_i w_i loss_i, a scalar.
        Y, params, network: what it was computed with.
        whole: False for a block of `bp.accumulate`, whose weights are those of all examples and whose cost is its
            share of C.
    """

    A: list[Float[Array, "_ m"]]
    Z: list[Float[Array, "_ m"]]
    dA: list[Float[Array, "_ m"]]
    dZ: list[Float[Array, "_ m"]]
    losses: Float[Array, " m"]
    weights: Float[Array, "1 m"]
    total_weight: Float[Array, ""]
    cost: Float[Array, ""]
    Y: Float[Array, "n m"] | Integer[Array, " m"]
    params: Params
    network: Network
    whole: bool = dataclasses.field(default=True, metadata={"static": True})


@jit
def backpropagate(network: Network, params: Params, X: Array, Y: Array, weights: Array | None = None) -> Record:
    """One forward and backward pass, with every intermediate.

    dZ[L] = dA[L] * g[L]'(Z[L]), collapsed to A[L] - Y for a matched cross-entropy; dA[l-1] = W[l]^T dZ[l];
    dZ[l] = dA[l] * g[l]'(Z[l]). dA[L] is the textbook form, such as -Y/A + (1-Y)/(1-A), and infinite where A rounds to
    0 or 1; where the cost is collapsed nothing is computed from it.

    Inside `jax.jit` only what is used of the record is computed and kept.

    Args, Raises: those of `bp.cost`.
    """
    params, X, Y, weights = arguments.checked(network, params, X, Y, weights)
    return record_of(network, params, X, Y, *example_weights(weights, X))


def example_weights(weights: Array | None, X: Array) -> tuple[Array, Array]:
    """w, of shape (1, m), and the sum it was divided by, from validated weights."""
    m, dtype = X.shape[1], accumulator(X.dtype)
    given = jnp.ones((1, m), dtype) if weights is None else weights
    return given * output.normalizer(weights, m), jnp.asarray(m, dtype) if weights is None else jnp.sum(weights)


def record_of(
    network: Network, params: Params, X: Array, Y: Array, w: Array, total_weight: Array, whole: bool = True
) -> Record:
    """The record of validated arguments, under weights that are normalised already."""
    A, Z = equations.forward(network.activations, params, X)
    losses = output.losses_of(network, A, Z, Y)
    dA_L, dZ_L = output.output_derivatives(network, A, Z, Y)
    dA, dZ = equations.backward(network.activations, params, A, Z, dZ_L)
    dA.append(dA_L)
    cost = jnp.sum(output.select(losses[None, :] * w, w != 0)).astype(X.dtype)
    return Record(A, Z, dA, dZ, losses, w, total_weight, cost, Y, params, network, whole)


@jit
def gradients(record: Record) -> Params:
    """The gradient of the record's cost: dW[l] = (dZ[l] * w) A[l-1]^T, db[l] = sum over examples of dZ[l] * w.

    Returns:
        A tuple of L layers, dW[l] and db[l] in the shapes and dtype of W[l] and b[l].
    """
    check_record(record)
    return sum_over_examples(record, record.A, record.dZ)


def check_record(record: Record) -> None:
    """Refuses what is no record."""
    if not isinstance(record, Record):
        raise TypeError(f"record is {a_kind(record)}; expected a bp.Record, as bp.backpropagate gives")


def sum_over_examples(record: Record, A: list, dZ: list, w: Array | list | float | None = None) -> Params:
    """(dZ[l] * w) A[l-1]^T and the sum of dZ[l] * w, shaped, typed and placed like the parameters.

    A sum over examples that is linear in `dZ`, such as a gradient. An absent example adds nothing, NaN included.

    Args:
        record: whose examples they are.
        A, dZ: what stands for them in the sum, columns of any kind. Lists l..L instead of 0..L give the sums of the
            layers above l alone.
        w: instead of the record's weights: a row, a list 0..L of rows, one for each layer, or 1 where dZ has them in
            it already.
    """
    present, dtype = record.weights != 0, accumulator(record.cost.dtype)
    w = record.weights if w is None else w
    rows = w if isinstance(w, list) else [w] * len(dZ)
    A = [output.select(A, present).astype(dtype) for A in A]
    dZ = [
        equations.NONE,
        *(output.select(dZ.astype(dtype) * w, present) for dZ, w in zip(dZ[1:], rows[1:], strict=True)),
    ]
    params = record.params[-(len(A) - 1) :]
    sums = equations.gradient_sums(params, A, dZ)
    return jax.tree.map(lambda d, p: as_cotangent(d.astype(p.dtype), p), sums, params)
