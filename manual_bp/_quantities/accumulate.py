"""Quantities of many examples in the memory of a few: block by block."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from manual_bp import _numbers as numbers
from manual_bp import _validate as validate
from manual_bp._network import Network, Params
from manual_bp._products import accumulator
from manual_bp._record import Record, example_weights, record_of


def accumulate(function_of_record: Callable[[Record], Any], network: Network, block_size: int) -> Callable[..., Any]:
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
        block_size: examples at a time, 1 or more.

    Raises:
        TypeError: a function_of_record that is not callable; a block_size that is not an integer.
        ValueError: a block_size below 1; on tracing, a quantity with two axes of the examples, such as
            `bp.gram_matrix`.
    """
    validate.is_network(network)
    if not callable(function_of_record):
        raise TypeError(
            f"function_of_record is a {type(function_of_record).__name__}; expected a function of a bp.Record, "
            "such as bp.gradients"
        )
    block_size = numbers.count("block_size", block_size)

    @jax.jit
    def accumulated(params: Params, X: Array, Y: Array, weights: Array | None = None) -> Any:
        params, X, Y, weights = validate.arguments(network, params, X, Y, weights)
        (w, total_weight), m = example_weights(weights, X), X.shape[1]

        def of_examples(X: Array, Y: Array, w: Array) -> Any:
            return function_of_record(record_of(network, params, X, Y, w, total_weight, whole=False))

        def of_block(start: Array | int, size: int) -> Any:
            return of_examples(*(lax.dynamic_slice_in_dim(x, start, size, axis=x.ndim - 1) for x in (X, Y, w)))

        axes = _example_axes(of_examples, min(m, block_size), X, Y, w)
        if m <= block_size:
            return of_examples(X, Y, w)
        # The rest, or else the last block, comes first: it has the types that the sums keep
        first = m % block_size or block_size
        out, structure = jax.tree.flatten(jax.tree.map(jnp.asarray, of_block(m - first, first)))
        sums = [x.astype(_wide(x.dtype)) for x, axis in zip(out, axes, strict=True) if axis is None]

        def step(sums: list, i: Array) -> tuple[list, list]:
            out = [jnp.asarray(x) for x in jax.tree.leaves(of_block(i * block_size, block_size))]
            terms = [x for x, axis in zip(out, axes, strict=True) if axis is None]
            sums = [s + x.astype(s.dtype) for s, x in zip(sums, terms, strict=True)]
            return sums, [x for x, axis in zip(out, axes, strict=True) if axis is not None]

        sums, columns = map(iter, lax.scan(step, sums, jnp.arange((m - first) // block_size)))
        return jax.tree.unflatten(
            structure,
            [
                _narrow(next(sums), last.dtype) if axis is None else _concatenated(next(columns), last, axis)
                for last, axis in zip(out, axes, strict=True)
            ],
        )

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


def _concatenated(blocks: Array, last: Array, axis: int) -> Array:
    """Blocks that are stacked along axis 0, and the last one, joined along `axis`."""
    joined = jnp.moveaxis(blocks, 0, axis)
    shape = joined.shape[:axis] + (-1,) + joined.shape[axis + 2 :]
    return jnp.concatenate([joined.reshape(shape), last], axis)


def _wide(dtype: jnp.dtype) -> jnp.dtype:
    """The dtype of a sum: float32 at least; for booleans, which are counted, an integer."""
    if jnp.issubdtype(dtype, jnp.floating):
        return accumulator(dtype)
    return jnp.promote_types(dtype, jnp.int32)


def _narrow(total: Array, dtype: jnp.dtype) -> Array:
    """The sum in the dtype of its terms, if that is a float."""
    return total.astype(dtype) if jnp.issubdtype(dtype, jnp.floating) else total
