"""Examples taken block by block, so that what is kept of a pass stays small whatever their number."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from manual_bp._checks import numbers
from manual_bp._machine.products import accumulator, is_spread
from manual_bp._network import Network

BlockSize = int | Literal["auto"] | None

MiB = 2**20


def check_block_size(block_size: BlockSize) -> BlockSize:
    """The option as a user gives it: an integer from 1 on, "auto" or None."""
    if block_size is None or isinstance(block_size, str) and block_size == "auto":
        return block_size
    if isinstance(block_size, str):
        raise ValueError(f"block_size is {block_size!r}; expected an integer, 'auto' or None")
    return numbers.count("block_size", block_size, ", 'auto' or None")


def chosen(block_size: BlockSize, network: Network, X: Array) -> int:
    """The examples to be taken at a time of those in X: all of them where blocks are not wanted or do not pay."""
    m = X.shape[1]
    if block_size is None or block_size == "auto" and is_spread(X):
        return m
    return auto(network.sizes, m, X.dtype.itemsize) if block_size == "auto" else min(m, block_size)


def auto(sizes: Sequence[int], m: int, itemsize: int) -> int:
    """The block size that "auto" stands for: m where blocks do not pay.

    Measured on two cores at widths 64 to 1024 and 32,768 classes; elsewhere than on CPU nothing was.
    """
    widths = sizes[1:]
    kept, parameters = sum(widths) * itemsize, sum(n * (k + 1) for k, n in zip(sizes, widths, strict=False)) * itemsize
    # A[1..L] and one dA: up to 32 MiB the system's allocator has that memory at hand, and above it maps new pages at
    # each call, which takes longer than the arithmetic of a narrow layer
    if jax.default_backend() != "cpu" or m * (kept + max(widths) * itemsize) <= 32 * MiB:
        return m
    # What a block keeps fits a core's cache, as long as adding to the gradient is little beside forming it
    least = 512 if parameters <= MiB else 1024
    most = 32 * MiB // kept
    return 2 ** (min(max(MiB // kept, least), max(most, 1)).bit_length() - 1)


def over_blocks(
    of_examples: Callable[..., Any],
    examples: Sequence[Any],
    size: int,
    axes: Sequence[int | None] | None = None,
    part: tuple[Array | int, int] | None = None,
) -> Any:
    """What `of_examples` gives for all examples, from `size` of them at a time; the last block holds the rest.

    Args:
        of_examples: a function of the arrays of some examples that returns a pytree of arrays.
        examples: those arrays, each with the examples along its last axis, or None.
        size: examples at a time.
        axes: of every array returned, the axis that holds the examples, along which blocks are concatenated; None for
            one that is a sum over them, added up in float32 at least. All are sums unless given.
        part: where to begin, and with how many examples to be done; with the first and all of them unless given.
    """
    origin, m = (0, next(x for x in examples if x is not None).shape[-1]) if part is None else part

    def of_block(start: Array | int, n: int) -> Any:
        at = origin + start
        block = (x if x is None else lax.dynamic_slice_in_dim(x, at, n, axis=x.ndim - 1) for x in examples)
        return of_examples(*block)

    if m <= size:
        return of_block(0, m)

    # The rest, or else the last block, comes first: it has the types that the sums keep
    first = m % size or size
    out, structure = jax.tree.flatten(jax.tree.map(jnp.asarray, of_block(m - first, first)))
    axes = [None] * len(out) if axes is None else axes
    sums = [x.astype(_wide(x.dtype)) for x, axis in zip(out, axes, strict=True) if axis is None]

    def step(sums: list, i: Array) -> tuple[list, list]:
        out = [jnp.asarray(x) for x in jax.tree.leaves(of_block(i * size, size))]
        terms = [x for x, axis in zip(out, axes, strict=True) if axis is None]
        sums = [s + x.astype(s.dtype) for s, x in zip(sums, terms, strict=True)]
        return sums, [x for x, axis in zip(out, axes, strict=True) if axis is not None]

    sums, columns = map(iter, lax.scan(step, sums, jnp.arange((m - first) // size)))
    return jax.tree.unflatten(
        structure,
        [
            _narrow(next(sums), last.dtype) if axis is None else _concatenated(next(columns), last, axis)
            for last, axis in zip(out, axes, strict=True)
        ],
    )


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
