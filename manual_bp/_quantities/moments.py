"""How the examples' gradients g_i scatter about their mean, parameter by parameter and as a whole.

`reduction` says how examples are put together: "mean" under the record's weights, "sum" that times
`record.total_weight`, the sum of the weights as they were given (m unless given). Nowhere is a g_i itself divided
by m: it is the gradient of example i's own loss.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from manual_bp._network import Params
from manual_bp._quantities.per_example import per_example_norms
from manual_bp._quantities.reduction import Reduction, reduce
from manual_bp._record import Record, check_record, gradients, sum_over_examples


def second_moment(record: Record, reduction: Reduction = "mean") -> Params:
    """The mean of the squares of the examples' gradients, element by element: sum_i w_i g_i^2.

    (dW_i)^2 = dz_i^2 (a_i^2)^T, so the mean is a gradient's product with squared factors: (dZ^2 * w) (A^2)^T. With
    reduction="sum" it is the sum of squared gradients.

    Args:
        record: of `bp.backpropagate`.
        reduction: "mean" over the examples under their weights, or "sum": that times `record.total_weight`.

    Returns:
        A tuple of L layers like the parameters.
    """
    check_record(record)
    return reduce(record, _mean_square(record), reduction)


def variance(record: Record, reduction: Reduction = "mean") -> Params:
    """The population variance of the examples' gradients, element by element: sum_i w_i (g_i - g)^2, g their mean.

    Computed as sum_i w_i g_i^2 - g^2, so that what is below rounding of g^2 is rounding.

    Args:
        record: of `bp.backpropagate`, whole: the variances of blocks do not add up.
        reduction: "mean" over the examples under their weights, or "sum", the sum of squared deviations: that times
            `record.total_weight`.

    Returns:
        A tuple of L layers like the parameters; 0 where there is one example.
    """
    _require_whole(record, "variance")
    return reduce(record, _variance(record), reduction)


@jax.jit
def signal_to_noise(record: Record) -> Params:
    """Each parameter's gradient signal-to-noise ratio g^2 / sum_i w_i (g_i - g)^2: squared mean over variance.

    Of a single example's gradient: that of the mean of m of them is m times as high. 0 where the mean is 0, infinite
    where the examples agree. Liu et al., Understanding why neural networks generalize well through GSNR of parameters
    (2020), arXiv:2001.07384.

    Args:
        record: of `bp.backpropagate`, whole.

    Returns:
        A tuple of L layers like the parameters.
    """
    _require_whole(record, "signal_to_noise")
    return jax.tree.map(lambda g, v: jnp.where(g == 0, 0, g**2 / v), gradients(record), _variance(record))


@jax.jit
def noise_scale(record: Record) -> Float[Array, ""]:
    """The gradient noise scale B = tr(S) / |G|^2, in examples: about the batch size at which noise equals signal.

    S is the covariance of an example's gradient and G the true gradient, both estimated from this batch without bias,
    from the mean of |g_i|^2, whose expectation is |G|^2 + tr(S), and from |g|^2 of their mean g, whose expectation is
    |G|^2 + tr(S) sum_i w_i^2:

        tr(S) = (sum_i w_i |g_i|^2 - |g|^2) / (1 - sum_i w_i^2)        |G|^2 = sum_i w_i |g_i|^2 - tr(S)

    McCandlish et al., An empirical model of large-batch training (2018), arXiv:1812.06162, appendix A, with batches of
    1 and m. Where noise drowns the signal the estimate of |G|^2 can be negative, and B with it: average both over
    several batches then.

    Args:
        record: of `bp.backpropagate`, whole, of two examples or more: NaN for one, or where all weights are zero.

    Returns:
        A scalar, in float32 at least.
    """
    _require_whole(record, "noise_scale")
    w = record.weights[0]
    squares = jnp.where(w != 0, per_example_norms(record) ** 2, 0)
    mean_square = jnp.sum(w * squares)
    square_mean = sum(jnp.sum(jnp.square(g.astype(w.dtype))) for g in jax.tree.leaves(gradients(record)))
    trace = (mean_square - square_mean) / (1 - jnp.sum(w**2))
    return trace / (mean_square - trace)


@jax.jit
def _mean_square(record: Record) -> Params:
    squared = [None, *(jnp.square(dZ) for dZ in record.dZ[1:])]
    return sum_over_examples(record, [jnp.square(A) for A in record.A], squared)


@jax.jit
def _variance(record: Record) -> Params:
    return jax.tree.map(lambda square, g: jnp.maximum(square - g**2, 0), _mean_square(record), gradients(record))


def _require_whole(record: Record, name: str) -> None:
    check_record(record)
    if not record.whole:
        raise ValueError(
            f"{name} of a block of examples was asked for, and those of blocks do not add up; "
            "accumulate what it is formed from, such as bp.gradients and bp.second_moment, and form it from their sums"
        )
