"""The scatter of the examples' gradients g_i about their mean, for every parameter and as a whole.

g_i is the gradient of example i's own loss; it is not divided by m.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from manual_bp._jit import jit
from manual_bp._network import Params
from manual_bp._quantities.per_example import per_example_norms
from manual_bp._quantities.reduction import Reduction, reduce
from manual_bp._record import Record, check_record, gradients, sum_over_examples


def second_moment(record: Record, reduction: Reduction = "mean") -> Params:
    """Compute the mean of the squares of the examples' gradients, element by element: sum_i w_i g_i^2.

    (dW_i)^2 = dz_i^2 (a_i^2)^T, so the mean is the product of a gradient with both factors squared: (dZ^2 * w) (A^2)^T.

    Args:
        record: the record of `bp.backpropagate`.
        reduction: "mean" over the examples under their weights, or "sum", that mean times `record.total_weight`.

    Returns:
        A tuple of L layers like the parameters.

    Example:
        >>> network = bp.Network((2, 3, 1), output="sigmoid")
        >>> params = bp.init(network, jax.random.key(0))
        >>> record = bp.backpropagate(network, params, jnp.ones((2, 5)), jnp.zeros((1, 5)))
        >>> squares = bp.second_moment(record, reduction="sum")
        >>> squares[0].W.shape
        (3, 2)
    """
    check_record(record)
    return reduce(record, _mean_square(record), reduction)


def variance(record: Record, reduction: Reduction = "mean") -> Params:
    """Compute the population variance of the examples' gradients about their mean g: sum_i w_i (g_i - g)^2.

    It is computed as sum_i w_i g_i^2 - g^2, so a variance below the rounding error of g^2 is inaccurate.

    Args:
        record: the record of `bp.backpropagate`; not a block of `bp.accumulate`, as variances do not add up.
        reduction: "mean", or "sum" for the sum of squared deviations, as in `bp.second_moment`.

    Returns:
        A tuple of L layers like the parameters; 0 for a single example.

    Example:
        >>> network = bp.Network((2, 3, 1), output="sigmoid")
        >>> params = bp.init(network, jax.random.key(0))
        >>> record = bp.backpropagate(network, params, jnp.ones((2, 5)), jnp.zeros((1, 5)))
        >>> [bool((v.W >= 0).all()) for v in bp.variance(record)]
        [True, True]
    """
    _require_whole(record, "variance")
    return reduce(record, _variance(record), reduction)


@jit
def signal_to_noise(record: Record) -> Params:
    """Compute the gradient signal-to-noise ratio of each parameter, squared mean over variance.

    g^2 / sum_i w_i (g_i - g)^2 is the ratio for the gradient of a single example; for the mean of m of them it is m
    times as high. Liu et al., Understanding why neural networks generalize well through GSNR of parameters (2020),
    arXiv:2001.07384.

    Args:
        record: the record of `bp.backpropagate`; not a block of `bp.accumulate`.

    Returns:
        A tuple of L layers like the parameters: 0 where the mean is 0, otherwise infinite where the variance is 0.

    Example:
        >>> network = bp.Network((2, 3, 1), output="sigmoid")
        >>> params = bp.init(network, jax.random.key(0))
        >>> record = bp.backpropagate(network, params, jnp.ones((2, 5)), jnp.zeros((1, 5)))
        >>> bp.signal_to_noise(record)[0].W.shape
        (3, 2)
    """
    _require_whole(record, "signal_to_noise")
    return jax.tree.map(lambda g, v: jnp.where(g == 0, 0, g**2 / v), gradients(record), _variance(record))


@jit
def noise_scale(record: Record) -> Float[Array, ""]:
    """Compute the gradient noise scale B = tr(S) / |G|^2, about the batch size at which noise equals signal.

    S is the covariance of an example's gradient and G the true gradient. The mean of |g_i|^2 has the expectation
    |G|^2 + tr(S), and |g|^2 of the mean gradient g has |G|^2 + tr(S) sum_i w_i^2. Unbiased estimates from this batch
    are therefore

        tr(S) = (sum_i w_i |g_i|^2 - |g|^2) / (1 - sum_i w_i^2)        |G|^2 = sum_i w_i |g_i|^2 - tr(S)

    McCandlish et al., An empirical model of large-batch training (2018), arXiv:1812.06162, appendix A, with batches of
    1 and m. If noise dominates, the estimate of |G|^2 can be negative, and B with it. In that case average tr(S) and
    |G|^2 over several batches.

    Args:
        record: the record of `bp.backpropagate`, of two examples or more; not a block of `bp.accumulate`.

    Returns:
        A scalar, in float32 at least; NaN for one example, or if all weights are zero.

    Example:
        >>> network = bp.Network((2, 3, 1), output="sigmoid")
        >>> params = bp.init(network, jax.random.key(0))
        >>> X = jax.random.normal(jax.random.key(1), (2, 5))
        >>> record = bp.backpropagate(network, params, X, jnp.zeros((1, 5)))
        >>> bp.noise_scale(record).shape
        ()
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
            f"record holds a block of examples, and the {name} of blocks cannot be added up; "
            "accumulate the sums that make it up, such as bp.gradients and bp.second_moment, and compute it from those"
        )
