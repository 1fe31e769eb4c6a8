"""Examples taken block by block, so that a pass keeps little in memory however many examples there are."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from manual_bp._machine.precision import accumulator
from manual_bp._machine.products import on_cpu
from manual_bp._machine.sharding import is_spread

BlockSize = int | Literal["auto"] | None

MiB = 2**20


def auto(shape: Sequence[int], widths: Sequence[int], itemsize: int) -> int:
    """The block size that "auto" stands for on a CPU, for X of this shape: m where blocks do not pay."""
    n_0, m = shape
    example = (sum(widths) + max(widths)) * itemsize  # these arrays and one dA
    # Up to 32 MiB the system's allocator has that memory at hand. Above, it maps new pages at each call, which takes
    # longer than the arithmetic of a narrow layer
    if m * example <= 32 * MiB:
        return m
    # Half of that, so that it is reused and partly cached; but adding to the gradient must not take longer than forming
    # it, and beyond 8,192 the cache counts. A block of X is a copy. Measured on two cores, 27 networks: docs/speed.md
    example += n_0 * itemsize
    return _power_of_two(min(max(16 * MiB // example, 1024), 32 * MiB // example, 8192))


def auto_on_gpu(shape: Sequence[int], widths: Sequence[int], itemsize: int) -> int:
    """The block size that "auto" stands for on a GPU: m unless the activations outgrow their part of its memory."""
    m, example = shape[1], (sum(widths) + max(widths)) * itemsize
    # Which GPU it is, and so its memory, is unknown while JAX traces, and the same call has to give the same bits on
    # all of them: this is an eighth of 80 GB. A block may take a 64th of it. Not measured on a GPU
    most = 10 * 10**9
    return m if m * example <= most else _power_of_two(most // 64 // example)


def _power_of_two(most: int) -> int:
    """The largest that is no more than `most`, or 1."""
    return 2 ** (max(most, 1).bit_length() - 1)


def in_blocks_or_at_once(
    block_size: BlockSize, widths: Sequence[int], X: Array, in_blocks: Callable[..., Any], at_once: Callable[..., Any]
) -> Callable[..., Any]:
    """The one of two functions, equal but for rounding, that is to be called; `in_blocks` takes a size first.

    `widths` are those of `Network.kept`, the arrays that a pass holds of each example.
    """
    m = X.shape[1]

    def form(size: int) -> Callable[..., Any]:
        return at_once if size >= m else functools.partial(in_blocks, size)

    if block_size != "auto":
        return form(m if block_size is None else block_size)
    of_platform = ("cpu", auto), ("gpu", auto_on_gpu)
    cpu, gpu = (m if is_spread(X, p) else choose(X.shape, widths, X.dtype.itemsize) for p, choose in of_platform)
    # two branches would be traced, each with the whole gradient
    return form(cpu) if cpu == gpu else lambda *args: on_cpu(form(cpu), form(gpu), *args)


def over_blocks(
    of_examples: Callable[..., Any],
    examples: Sequence[Any],
    size: int,
    axes: Sequence[int | None] | None = None,
    part: tuple[Array | int, int] | None = None,
) -> Any:
    """Evaluate a function of examples on `size` of them at a time; the last block holds the rest.

    Args:
        of_examples: a function of the arrays of some examples that returns a pytree of arrays.
        examples: those arrays, each with the examples along its last axis, or None.
        size: the examples in a block.
        axes: for each array returned, the axis that holds the examples, along which blocks are concatenated, or None
            for a sum over them, which is added up in float32 at least. Without `axes` all arrays are sums.
        part: the first example and the number of examples; without it, all of them.
    """
    origin, m = (0, next(x for x in examples if x is not None).shape[-1]) if part is None else part

    def of_block(start: Array | int, n: int) -> Any:
        at = origin + start
        block = (x if x is None else lax.dynamic_slice_in_dim(x, at, n, axis=x.ndim - 1) for x in examples)
        return of_examples(*block)

    if m <= size:
        out, structure = jax.tree.flatten(jax.tree.map(jnp.asarray, of_block(0, m)))
        axes = [None] * len(out) if axes is None else axes
        return jax.tree.unflatten(
            structure, [_narrow(x, x.dtype) if a is None else x for x, a in zip(out, axes, strict=True)]
        )

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
    is_float = jnp.issubdtype(dtype, jnp.floating)
    return accumulator(dtype) if is_float else jnp.promote_types(dtype, jnp.int32)


def _narrow(total: Array, dtype: jnp.dtype) -> Array:
    """The sum in the dtype of its terms, if that is a float; otherwise as it is counted."""
    return total.astype(dtype if jnp.issubdtype(dtype, jnp.floating) else _wide(dtype))
