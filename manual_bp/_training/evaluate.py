"""How well a network does on some examples, in the memory of a few of them."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from manual_bp._activations import SIGMOID, SOFTMAX
from manual_bp._checks import arguments
from manual_bp._costs import CROSS_ENTROPIES, is_index
from manual_bp._network import Network, Params
from manual_bp._output import select
from manual_bp._quantities.accumulate import accumulate
from manual_bp._record import Record

# (A[L], Y) -> a value for each example
Metric = Callable[[Array, Array], Array]


class Evaluation(NamedTuple):
    """The cost and the metric, each the weighted mean over examples; the metric is None where there is none."""

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
    """The cost and a metric of examples in columns, `block_size` of them at a time.

    Args:
        network, params, X, Y, weights: those of `bp.cost`.
        metric: "accuracy", which "auto" is for a cross-entropy (and None for other costs): 1 where the largest output
            is that of the class, or, of sigmoid outputs, where all are on their target's side of 1/2; or a function
            (A[L], Y) -> values of shape (m,), at module level, so that it is compiled once.
        block_size: examples whose layers are in memory at the same time.

    Raises:
        TypeError, ValueError: a metric that does not fit the network, and as `bp.cost`.
    """
    cost, achieved, total = _sums(network, metric_of(network, metric), block_size)(params, X, Y, weights)
    return Evaluation(cost, None if total is None else achieved / jnp.where(total > 0, total, 1))


def metric_of(network: Network, metric: Metric | str | None) -> Metric | None:
    """The function that a metric given by the user is."""
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
        raise ValueError(f"metric is 'accuracy', and the output is {network.output}; expected softmax or sigmoid")
    return None


def accuracy_of_classes(A: Array, Y: Array) -> Array:
    """1 where the largest output is that of the class."""
    return (jnp.argmax(A, axis=0) == (Y if is_index(Y) else jnp.argmax(Y, axis=0))).astype(A.dtype)


def accuracy_of_labels(A: Array, Y: Array) -> Array:
    """1 where every output is on its target's side of 1/2."""
    return jnp.all((A > 0.5) == (Y > 0.5), axis=0).astype(A.dtype)


@functools.lru_cache(maxsize=256)
def _sums(network: Network, metric: Metric | None, block_size: int) -> Callable[..., tuple[Array, Any, Any]]:
    """The cost, the weighted sum of the metric, and the sum of those weights."""

    def shares(record: Record) -> tuple[Array, Any, Any]:
        if metric is None:
            return record.cost, None, None
        values, w = metric(record.A[-1], record.Y), record.weights
        if getattr(values, "shape", None) != record.losses.shape:
            m = len(record.losses)
            raise ValueError(
                f"metric returns {arguments.a_kind(values)}; expected shape ({m},), a value for each example"
            )
        # By one reduction, which the barrier keeps XLA from working out in part: terms that are equal have equal sums,
        # so that an accuracy is 1 where all are right, and never above it
        both = lax.optimization_barrier(jnp.stack([values, jnp.ones_like(values)]))
        achieved, total = jnp.sum(select(both * w, w != 0), axis=1)
        return record.cost, achieved, total

    return accumulate(shares, network, block_size)
