"""Quantities of many examples in the memory of a few, computed block by block."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array

from manual_bp._checks import arguments
from manual_bp._jit import jit
from manual_bp._kind import a_kind
from manual_bp._machine import blocks
from manual_bp._network import Network, Params
from manual_bp._record import Record, example_weights, record_of


def accumulate(
    function_of_record: Callable[[Record], Any], network: Network, block_size: blocks.BlockSize = "auto"
) -> Callable[..., Any]:
    """Make the compiled function (params, X, Y, weights=None) -> `function_of_record` of all examples.

    The examples are taken `block_size` at a time; the last block holds the rest. Memory does not grow with m, except
    for values that are returned for each example.

    The function has to return sums over examples of w_i times a term of example i, values for each example, or a
    pytree of both. Blocks are joined accordingly: an array with an axis of the examples, found as the axis whose length
    changes with the block's, is concatenated along it; any other array is added up, in float32 at least. Each block's
    record carries its examples' shares of the whole weight, so a mean over examples, such as `bp.gradients`, is the sum
    of the blocks' results.

    Nothing else adds up over blocks: a maximum, a `jnp.mean`, the parameters, or `record.total_weight`, which is that
    of all examples in every block. `bp.variance`, `bp.signal_to_noise` and `bp.noise_scale` raise an error; compute
    them from accumulated sums.

    The compiled code belongs to the returned function, so make that function once. If `function_of_record` closes over
    arrays, such as the vectors of `bp.hessian_product`, call `bp.accumulate` inside a `jax.jit` that takes them as
    arguments.

    Args:
        function_of_record: a function of a `bp.Record`, such as `bp.gradients`, traceable by JAX.
        network: the description.
        block_size: the examples in a block, 1 or more; "auto" and None as for `bp.value_and_grad`.

    Raises:
        TypeError: a function_of_record that is not callable; a block_size that is no integer.
        ValueError: a block_size below 1 or unknown; on tracing, a quantity with two axes of the examples, such as
            `bp.gram_matrix`.

    Example:
        >>> network = bp.Network((2, 3, 1), output="sigmoid")
        >>> params = bp.init(network, jax.random.key(0))
        >>> norms = bp.accumulate(bp.per_example_norms, network, block_size=4)
        >>> norms(params, jnp.ones((2, 10)), jnp.zeros((1, 10))).shape
        (10,)
    """
    arguments.check_network(network)
    if not callable(function_of_record):
        raise TypeError(
            f"function_of_record is {a_kind(function_of_record)}; expected a function of a bp.Record, such as "
            "bp.gradients"
        )
    block_size = arguments.check_block_size(block_size)

    @jit
    def accumulated(params: Params, X: Array, Y: Array, weights: Array | None = None) -> Any:
        params, X, Y, weights = arguments.checked(network, params, X, Y, weights)
        w, total_weight = example_weights(weights, X)

        def of_examples(X: Array, Y: Array, w: Array) -> Any:
            return function_of_record(record_of(network, params, X, Y, w, total_weight, whole=False))

        def in_blocks(size: int, *examples: Array) -> Any:
            return blocks.over_blocks(of_examples, examples, size, axes)

        m = X.shape[1]
        axes = _example_axes(of_examples, m, X, Y, w)
        at_once = functools.partial(in_blocks, m)
        return blocks.in_blocks_or_at_once(block_size, network.kept, X, in_blocks, at_once)(X, Y, w)

    return accumulated


def _example_axes(of_examples: Callable[..., Any], size: int, *arrays: Array) -> list[int | None]:
    """The axis of each returned array that holds the examples, found by its length; None if there is none."""

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
                f"m = {size}; expected at most one axis of the examples, so that blocks can be joined"
            )
        axes.append(found[0] if found else None)
    return axes
