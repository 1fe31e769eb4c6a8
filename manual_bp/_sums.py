"""The cost and its gradient as sums over examples: of all of them, or of a part, from some at a time."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from manual_bp import _equations as equations
from manual_bp._gradient import cost_backward, cost_forward
from manual_bp._machine.blocks import over_blocks
from manual_bp._machine.products import accumulator, as_cotangent, varying_like
from manual_bp._network import Network, Params


def cost_and_gradient(
    network: Network,
    params: Params,
    X: Array,
    Y: Array,
    weights: Array | None,
    size: int,
    like: Params | None = None,
    X_in_rows: bool = False,
) -> tuple[Array, Params]:
    """C and its gradient of validated arguments, from `size` examples at a time, in the dtypes of `like`."""
    like = params if like is None else like
    if size >= X.shape[1]:
        c, residuals = cost_forward(network, params, X, Y, weights)
        return c, cost_backward(network, residuals, 1.0, like, X_in_rows)[0]
    c, sums = partial_sums(network, params, X, Y, weights, size, like, X_in_rows)
    return c.astype(X.dtype), jax.tree.map(lambda d, p: as_cotangent(d.astype(p.dtype), p), sums, like)


def partial_sums(
    network: Network,
    params: Params,
    X: Array,
    Y: Array,
    weights: Array | None,
    size: int,
    like: Params,
    X_in_rows: bool = False,
    part: tuple[Any, int] | None = None,
) -> tuple[Array, Params]:
    """What some of the examples, (first, number) of them, add to C and to its gradient, in float32 at least.

    C is the sum of the costs of blocks, each times its share of the weight: of that of all examples, those that are not
    in the part included.
    """
    # In the dtype of sums; and each shard's own inside shard_map, so that the shards are added up once, by the caller
    like = jax.tree.map(lambda p: varying_like(p.astype(accumulator(p.dtype)), X), like)
    normalizer = equations.normalizer(weights, X.shape[1])

    def of_examples(X: Array, Y: Array, weights: Array | None) -> tuple[Array, Params]:
        share = normalizer * (X.shape[1] if weights is None else jnp.sum(weights))
        _, residuals = cost_forward(network, params, X, Y, weights)
        *_, c = residuals
        return share * c, cost_backward(network, residuals, share, like, X_in_rows)[0]

    return over_blocks(of_examples, (X, Y, weights), size, part=part)
