"""Gradients clipped example by example, in the same pass that computes them.

The sum of c_i g_i comes from dZ with column i multiplied by c_i. The norms need no stored gradients, so clipping costs
one product for each layer. Bu et al., Differentially private optimization on large model at small cost (2023),
arXiv:2210.00038; Lee and Kifer, Scaling up differentially private deep learning with fast per-example gradient clipping
(2021), arXiv:2009.03106.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from manual_bp._checks import numbers
from manual_bp._network import Params
from manual_bp._quantities.per_example import per_example_layer_norms, per_example_norms
from manual_bp._quantities.reduction import Reduction, reduce
from manual_bp._record import Record, check_record, sum_over_examples

Bound = float | Float[Array, ""]


def clipped_gradients(record: Record, max_norm: Bound | Sequence[Bound], reduction: Reduction = "mean") -> Params:
    """Compute the mean of the examples' gradients, each scaled down to norm C: sum_i w_i min(1, C/|g_i|) g_i.

    g_i is the gradient of example i's own loss, whatever its weight. An example of weight zero adds nothing, even if
    it holds NaN. A NaN in any other example makes the mean NaN.

    Args:
        record: the record of `bp.backpropagate`.
        max_norm: the bound C, above 0; or C[1], ..., C[L], one for each layer. The layers are then clipped separately,
            and the norm of a whole gradient is at most (sum_l C[l]^2)^(1/2).
        reduction: "mean" over the examples under their weights, or "sum", that mean times `record.total_weight`.

    Returns:
        A tuple of L layers like the parameters.

    Raises:
        ValueError: a max_norm that is not above 0 (a traced one is not checked), a number of bounds other than 1 or L,
            or an unknown reduction.

    Example:
        >>> network = bp.Network((2, 3, 1), output="sigmoid")
        >>> params = bp.init(network, jax.random.key(0))
        >>> record = bp.backpropagate(network, params, jnp.ones((2, 5)), jnp.zeros((1, 5)))
        >>> clipped = bp.clipped_gradients(record, max_norm=0.1)
        >>> bool(optax.tree.norm(clipped) < 0.1001)
        True
    """
    check_record(record)
    max_norm = numbers.max_norm(max_norm, len(record.params))
    return reduce(record, _clipped_mean(record, max_norm), reduction)


@jax.jit
def _clipped_mean(record: Record, max_norm: Bound | tuple[Bound, ...]) -> Params:
    w = [record.weights * clip for clip in clip_factors(record, max_norm)]
    return sum_over_examples(record, record.A, record.dZ, w)


def clip_factors(record: Record, max_norm: Bound | tuple[Bound, ...]) -> list[Float[Array, " m"]]:
    """min(1, C/|g_i|) as a list of rows, one for each of the layers 0 to L; they are equal if there is one C."""
    if isinstance(max_norm, tuple):
        norms = per_example_layer_norms(record).T
        return [jnp.ones(()), *(_clip(norms[i], C) for i, C in enumerate(max_norm))]
    return [_clip(per_example_norms(record), max_norm)] * (len(record.params) + 1)


def _clip(norms: Float[Array, " m"], C: Bound) -> Float[Array, " m"]:
    # min(1, C/|g|), without dividing by a norm of 0
    return C / jnp.maximum(norms, C)
