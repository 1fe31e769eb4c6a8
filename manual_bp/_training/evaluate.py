"""The cost and a metric of many examples, in the memory of a few."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from manual_bp._activations import SIGMOID, SOFTMAX
from manual_bp._checks import arguments
from manual_bp._costs import CROSS_ENTROPIES, is_index
from manual_bp._network import Network, Params
from manual_bp._output import select
from manual_bp._quantities.accumulate import accumulate
from manual_bp._record import Record
from manual_bp._training.history import weighted_mean

# (A[L], Y) -> a value for each example
Metric = Callable[[Array, Array], Array]


class Evaluation(NamedTuple):
    """The cost and the metric, weighted means over examples; the metric is None if none applies.

    Example:
        >>> params = (bp.Layer(W=jnp.eye(3), b=jnp.zeros((3, 1))),)
        >>> cost, metric = bp.evaluate(bp.Network((3, 3)), params, X=jnp.eye(3), Y=jnp.arange(3))
        >>> float(metric)
        1.0
    """

    cost: Float[Array, ""]
    metric: Float[Array, ""] | None


def evaluate(
    network: Network,
    params: Params,
    X: Array,
    Y: Array,
    weights: Array | None = None,
    metric: Metric | str | None = "auto",
    block_size: int = 8192,
) -> Evaluation:
    """Computes the cost and a metric of examples in columns, block by block.

    Example:
        >>> params = (bp.Layer(W=jnp.eye(3), b=jnp.zeros((3, 1))),)
        >>> found = bp.evaluate(bp.Network((3, 3)), params, X=jnp.eye(3), Y=jnp.array([0, 1, 1]))
        >>> round(float(found.metric), 3)
        0.667

    Args:
        network, params, X, Y, weights: as in `bp.cost`.
        metric: "accuracy", None, or a function (A[L], Y) -> values of shape (m,), defined at module level so that it is
            compiled once. "auto" means accuracy for a cross-entropy, None for other costs. An example counts as right
            if its class has the largest output or, with sigmoid outputs, if every output is on its target's side of
            1/2.
        block_size: the number of examples whose activations are in memory at the same time.

    Raises:
        TypeError, ValueError: a metric that does not fit the network, or an argument that `bp.cost` refuses.
    """
    cost, achieved, total = _evaluation_of(network, metric_of(network, metric), block_size)(params, X, Y, weights)
    return Evaluation(cost, None if total is None else achieved / jnp.where(total > 0, total, 1))


def evaluate_blocks(
    network: Network, params: Params, blocks: list[tuple], metric: Metric | None
) -> tuple[float | None, float | None]:
    """The cost and the metric of blocks (X, Y, weights, sum of the weights); None for each if there are no blocks."""
    if not blocks:
        return None, None
    found = [evaluate(network, params, *block, metric=metric) for *block, _ in blocks]
    totals = np.array([total for *_, total in blocks])
    cost = weighted_mean(np.array([float(each.cost) for each in found]), totals)
    return cost, None if metric is None else weighted_mean(np.array([each.metric for each in found], float), totals)


def metric_of(network: Network, metric: Metric | str | None) -> Metric | None:
    """The function for the user's choice of a metric; None if there is none."""
    arguments.check_network(network)
    if metric is None or callable(metric):
        return metric
    if metric not in ("auto", "accuracy"):
        raise ValueError(f"metric is {metric!r}; expected 'auto', 'accuracy', None, or a function of (A[L], Y)")
    if network.output == SOFTMAX:
        return accuracy_of_classes
    if network.output == SIGMOID and (metric == "accuracy" or network.cost == CROSS_ENTROPIES[SIGMOID]):
        return accuracy_of_labels
    if metric == "accuracy":
        raise ValueError(f"metric is 'accuracy', but the output is {network.output}; it needs softmax or sigmoid")
    return None


def accuracy_of_classes(A: Array, Y: Array) -> Array:
    """Returns 1 for each example whose class has the largest output, else 0."""
    return (jnp.argmax(A, axis=0) == (Y if is_index(Y) else jnp.argmax(Y, axis=0))).astype(A.dtype)


def accuracy_of_labels(A: Array, Y: Array) -> Array:
    """Returns 1 for each example with every output on its target's side of 1/2, else 0."""
    return jnp.all((A > 0.5) == (Y > 0.5), axis=0).astype(A.dtype)


@functools.lru_cache(maxsize=256)
def _evaluation_of(network: Network, metric: Metric | None, block_size: int) -> Callable[..., tuple[Array, Any, Any]]:
    """The compiled function that returns the cost, the weighted sum of the metric, and the sum of these weights."""

    def shares(record: Record) -> tuple[Array, Any, Any]:
        if metric is None:
            return record.cost, None, None
        values, w = metric(record.A[-1], record.Y), record.weights
        if getattr(values, "shape", None) != record.losses.shape:
            m = len(record.losses)
            raise ValueError(f"metric returns {arguments.a_kind(values)}; expected shape ({m},), one value per example")
        # Both sums come from one reduction, and the barrier keeps XLA from simplifying one of them: equal terms then
        # have equal sums, so an accuracy is exactly 1 if all examples are right, and never above it
        both = lax.optimization_barrier(jnp.stack([values, jnp.ones_like(values)]))
        achieved, total = jnp.sum(select(both * w, w != 0), axis=1)
        return record.cost, achieved, total

    return accumulate(shares, network, block_size)
