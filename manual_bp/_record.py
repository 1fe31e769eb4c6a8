"""The record of one forward and backward pass, and the gradient computed from it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Integer

from manual_bp import _equations as equations
from manual_bp import _output as output
from manual_bp._checks import arguments
from manual_bp._jit import jit
from manual_bp._kind import a_kind
from manual_bp._machine.precision import accumulator
from manual_bp._machine.sharding import as_cotangent
from manual_bp._network import AnyArray, Network, Params


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Record:
    """Every intermediate of one forward and backward pass.

    A, Z, dA and dZ are lists indexed 0 to L, each entry of shape (n_l, m). Z[0] and dZ[0] are None, A[0] is X, and
    dA[0] is the derivative with respect to X. dA and dZ are derivatives of each example's own loss, without 1/m.

    Attributes:
        losses: the loss of each example, shape (m,).
        weights: w, the example weights over their sum, shape (1, m); 1/m for each example without weights.
        total_weight: that sum, a scalar; m without weights.
        cost: C = sum_i w_i loss_i, a scalar.
        Y, params, network: the arguments of the pass.
        whole: False for a block of `bp.accumulate`: its weights are shares of the weight of all examples, and its cost
            is a share of C.

    Example:
        >>> network = bp.Network((2, 3, 1), output="sigmoid")
        >>> params = bp.init(network, jax.random.key(0))
        >>> print(bp.backpropagate(network, params, jnp.zeros((2, 5)), jnp.zeros((1, 5))))
        Record of 5 examples, cost 0.693147
          layer 0: A, dA (2, 5)
          layer 1: W (3, 2), A, Z, dA, dZ (3, 5), relu
          layer 2: W (1, 3), A, Z, dA, dZ (1, 5), sigmoid
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

    def __repr__(self) -> str:
        """The cost, unless it is traced, and the shapes of all layers, in at most 12 lines."""
        shown = jax.tree.leaves((self.losses, self.cost, self.A, self.params), is_leaf=lambda x: x is None)
        if not all(isinstance(x, jax.Array | np.ndarray | np.generic) for x in shown):
            return object.__repr__(self)  # JAX may put placeholders in the places of arrays
        known = not (isinstance(self.cost, Tracer) or self.cost.ndim)
        cost, m = f", cost {float(self.cost):.6g}" if known else "", self.losses.shape[-1]
        lines = [f"Record of {m} example{'s' * (m != 1)}{cost}", f"  layer 0: A, dA {self.A[0].shape}"]
        for l, (layer, g) in enumerate(zip(self.params, self.network.activations, strict=True), start=1):
            lines.append(f"  layer {l}: W {layer.W.shape}, A, Z, dA, dZ {self.A[l].shape}, {g}")
        return "\n".join(lines if len(lines) <= 12 else [*lines[:7], "  ...", *lines[-4:]])


@jit
def backpropagate(
    network: Network, params: Params, X: AnyArray, Y: AnyArray, weights: AnyArray | None = None
) -> Record:
    """Run one forward and backward pass and record every intermediate.

    dZ[L] = dA[L] * g[L]'(Z[L]); dA[l-1] = W[l]^T dZ[l]; dZ[l] = dA[l] * g[l]'(Z[l]). For a cross-entropy on its own
    output, dZ[L] is A[L] - Y (softmax targets sum to 1), computed without dA[L]. dA[L] has the textbook form, such as
    -Y/A + (1-Y)/(1-A), and is infinite where A rounds to 0 or 1.

    Inside `jax.jit` only those parts of the record are computed and kept that are used.

    Args, Raises: those of `bp.cost`.

    Example:
        >>> network = bp.Network((2, 3, 1), output="sigmoid")
        >>> params = bp.init(network, jax.random.key(0))
        >>> record = bp.backpropagate(network, params, jnp.ones((2, 5)), jnp.zeros((1, 5)))
        >>> [dZ.shape for dZ in record.dZ[1:]]
        [(3, 5), (1, 5)]
    """
    params, X, Y, weights = arguments.checked(network, params, X, Y, weights)
    return record_of(network, params, X, Y, *example_weights(weights, X))


def example_weights(weights: Array | None, X: Array) -> tuple[Array, Array]:
    """w, of shape (1, m), and the sum of the weights that it was divided by, from checked weights."""
    m, dtype = X.shape[1], accumulator(X.dtype)
    given = jnp.ones((1, m), dtype) if weights is None else weights
    return given * output.normalizer(weights, m), jnp.asarray(m, dtype) if weights is None else jnp.sum(weights)


def record_of(
    network: Network, params: Params, X: Array, Y: Array, w: Array, total_weight: Array, whole: bool = True
) -> Record:
    """The record of checked arguments, with weights that are already normalised."""
    A, Z = equations.forward(network.activations, params, X)
    losses = output.losses_of(network, A, Z, Y)
    dA_L, dZ_L = output.output_derivatives(network, A, Z, Y)
    dA, dZ = equations.backward(network.activations, params, A, Z, dZ_L)
    dA.append(dA_L)
    cost = jnp.sum(output.select(losses[None, :] * w, w != 0)).astype(X.dtype)
    return Record(A, Z, dA, dZ, losses, w, total_weight, cost, Y, params, network, whole)


@jit
def gradients(record: Record) -> Params:
    """Compute the gradient: dW[l] = (dZ[l] * w) A[l-1]^T, db[l] = sum over examples of dZ[l] * w.

    Args:
        record: the record of `bp.backpropagate`.

    Returns:
        A tuple of L layers, dW[l] and db[l] in the shapes and dtype of W[l] and b[l].

    Example:
        >>> network = bp.Network((2, 3, 1), output="sigmoid")
        >>> params = bp.init(network, jax.random.key(0))
        >>> record = bp.backpropagate(network, params, jnp.ones((2, 5)), jnp.zeros((1, 5)))
        >>> [dW.shape for dW, db in bp.gradients(record)]
        [(3, 2), (1, 3)]
    """
    check_record(record)
    return sum_over_examples(record, record.A, record.dZ)


def check_record(record: Record) -> None:
    """Refuse anything but a record."""
    if not isinstance(record, Record):
        raise TypeError(f"record is {a_kind(record)}; expected a bp.Record, as bp.backpropagate gives")


def sum_over_examples(record: Record, A: list, dZ: list, w: Array | list | float | None = None) -> Params:
    """(dZ[l] * w) A[l-1]^T and the sum of dZ[l] * w, shaped, typed and placed like the parameters.

    Any sum over examples that is linear in `dZ`, such as a gradient, has this form. An absent example adds nothing,
    even if it holds NaN.

    Args:
        record: the record of the examples.
        A, dZ: the factors to sum. Lists for l..L give only layers l+1 to L.
        w: weights instead of the record's: a row, a list 0..L with a row for each layer, or 1 if dZ includes them.
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
