"""Batches that are read while the ones before them are computed on."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import jax
import numpy as np

from manual_bp._training.dataset import Dataset
from manual_bp._training.epoch import epoch_order
from manual_bp._training.state import TrainState

T = TypeVar("T")
# X, Y and weights of several batches, each with an axis of batches and one of examples in front
Chunk = tuple[np.ndarray, ...]

# The size of X in a chunk; a chunk is one compiled call
CHUNK_BYTES = 2**25


def read_ahead(items: Iterator[T]) -> Iterator[T]:
    """The items; while one is used, a thread reads the next."""
    with ThreadPoolExecutor(1) as reader:
        end = object()
        pending = reader.submit(next, items, end)
        while (item := pending.result()) is not end:
            pending = reader.submit(next, items, end)
            yield cast(T, item)


def chunks_of_rows(data: Dataset, state: TrainState, batch_size: int, shuffle: bool) -> Iterator[Chunk]:
    """The epoch that begins with `state`, in the order of `train_epoch`, read from arrays on the host or on disk."""
    m = len(data.Y)
    rows, present = map(np.asarray, epoch_order(state, m, min(batch_size, m), shuffle))
    per_chunk = _batches_per_chunk(data.X[0].nbytes * rows.shape[1])
    for start in range(0, len(rows), per_chunk):
        i, there = rows[start : start + per_chunk], present[start : start + per_chunk]
        w = there.astype(np.float32) if data.weights is None else np.where(there, np.asarray(data.weights)[i], 0)
        yield np.asarray(data.X[i]), np.asarray(data.Y[i]), w


def chunks_of_batches(batches: Iterable[Any]) -> Iterator[Chunk]:
    """Stacks batches (X, Y) or (X, Y, weights) in columns; a smaller one is filled up with examples of weight 0."""
    size, held = 0, []
    for batch in batches:
        X, Y, *weights = batch
        X, Y = np.asarray(X).T, np.asarray(Y).T
        m = len(X)
        size = size or m
        if m > size or len(Y) != m:
            hint = ": columns are examples, so pass X.T" if X.shape[1:] == Y.shape[:1] else ""
            raise ValueError(
                f"a batch has X of shape {X.T.shape} and Y of shape {Y.T.shape}; expected the same number of examples "
                f"(columns) in both, and at most {size}, the number in the first batch{hint}"
            )
        w = np.asarray(weights[0], np.float32).reshape(m) if weights else np.ones(m, np.float32)
        held.append(tuple(np.pad(x, [(0, size - m)] + [(0, 0)] * (x.ndim - 1)) for x in (X, Y, w)))
        if len(held) == _batches_per_chunk(held[0][0].nbytes):
            yield tuple(map(np.stack, zip(*held, strict=True)))
            held = []
    if held:
        yield tuple(map(np.stack, zip(*held, strict=True)))


def _batches_per_chunk(batch_bytes: int) -> int:
    return max(1, CHUNK_BYTES // max(1, batch_bytes))


def fits_on_device(nbytes: int) -> bool:
    """Returns whether the data take at most half of the device's memory; True if its size is unknown."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return nbytes <= stats.get("bytes_limit", np.inf) / 2
