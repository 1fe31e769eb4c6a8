"""Quantities of many examples in the memory of a few: block by block."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array

from manual_bp._checks import arguments
from manual_bp._machine import blocks
from manual_bp._network import Network, Params
from manual_bp._record import Record, example_weights, record_of


def accumulate(
    function_of_record: Callable[[Record], Any], network: Network, block_size: blocks.BlockSize = "auto"
) -> Callable[..., Any]:
    """The function (params, X, Y, weights=None) -> what `function_of_record` gives for all examples, compiled.

    The examples are taken `block_size` at a time (the last block holds the rest), so that memory does not grow with m
    but for what is returned for each example. Every block's record carries the weights of all examples: a mean over
    examples, such as `bp.gradients`, is a sum over blocks. So an array with an axis of the examples (its length changes
    with the size of the block) is concatenated along it, and any other is added up, in float32 at least.

    The function has to return sums over examples, of w_i times a term of example i, or values for each example, or a
    pytree of both. Nothing else adds up over blocks: not a maximum, a mean by `jnp.mean`, the parameters, or
    `record.total_weight`, each block's being that of all examples. `bp.variance`, `bp.signal_to_noise` and
    `bp.noise_scale` refuse; form them from the sums they consist of.

    What is compiled is kept with the function returned here: make it once. A function that closes over arrays, such as
    the vectors of `bp.hessian_product`, belongs inside a `jax.jit` that has them as arguments.

    Args:
        function_of_record: a function of a `bp.Record`, such as `bp.gradients`, traceable by JAX.
        network: the description.
        block_size: examples at a time, 1 or more; "auto" and None as for `bp.value_and_grad`.

    Raises:
        TypeError: a function_of_record that is not callable; a block_size that is no integer.
        ValueError: a block_size below 1 or unknown; on tracing, a quantity with two axes of the examples, such as
            `bp.gram_matrix`.
    """
    arguments.check_network(network)
    if not callable(function_of_record):
        raise TypeError(
            f"function_of_record is of type {type(function_of_record).__name__}; expected a function of a bp.Record, "
            "such as bp.gradients"
        )
    block_size = arguments.check_block_size(block_size)

    @jax.jit
    def accumulated(params: Params, X: Array, Y: Array, weights: Array | None = None) -> Any:
        params, X, Y, weights = arguments.checked(network, params, X, Y, weights)
        w, total_weight = example_weights(weights, X)

        def of_examples(X: Array, Y: Array, w: Array) -> Any:
            return function_of_record(record_of(network, params, X, Y, w, total_weight, whole=False))

        def in_blocks(*examples: Array) -> Any:
            return blocks.over_blocks(of_examples, examples, size, axes)

        def at_once(*examples: Array) -> Any:
            return blocks.over_blocks(of_examples, examples, m, axes)

        m, size = X.shape[1], blocks.size_of_block(block_size, network.sizes, X)
        axes = _example_axes(of_examples, size, X, Y, w)
        return blocks.in_blocks_or_at_once(block_size, size, m, in_blocks, at_once)(X, Y, w)

    return accumulated


def _example_axes(of_examples: Callable[..., Any], size: int, *arrays: Array) -> list[int | None]:
    """Of every array returned, the axis that holds the examples: the one whose length goes with theirs."""

    def returned(n: int) -> Any:
        args = (jax.ShapeDtypeStruct((*x.shape[:-1], n), x.dtype) for x in arrays)
        return jax.tree.leaves_with_path(jax.eval_shape(of_examples, *args))

    axes = []
    for (path, small), (_, large) in zip(returned(size), returned(size + 1), strict=True):
        found = [axis for axis, (n, k) in enumerate(zip(small.shape, large.shape, strict=True)) if n != k]
        if len(found) > 1:
            where = jax.tree_util.keystr(path)
            raise ValueError(
                f"function_of_record returns an array{' at ' + where if where else ''} of shape {small.shape} for "
                f"{size} examples; expected one axis of the examples or none: it is not a sum over blocks"
            )
        axes.append(found[0] if found else None)
    return axes
