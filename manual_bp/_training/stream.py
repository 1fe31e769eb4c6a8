"""Batches that are read while those before them are computed on."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import jax
import numpy as np

from manual_bp._training.dataset import Dataset
from manual_bp._training.epoch import order
from manual_bp._training.state import TrainState

T = TypeVar("T")
# X, Y and weights of some steps, each with an axis of steps and one of examples in front
Chunk = tuple[np.ndarray, np.ndarray, np.ndarray]

# Bytes of X in a chunk: one compiled call works through it
CHUNK_BYTES = 2**25


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The items, each next one read by a thread meanwhile."""
    with ThreadPoolExecutor(1) as reader:
        end = object()
        pending = reader.submit(next, items, end)
        while (item := pending.result()) is not end:
            pending = reader.submit(next, items, end)
            yield item  # type: ignore[misc]


def chunks_of_rows(data: Dataset, state: TrainState, batch_size: int, shuffle: bool) -> Iterator[Chunk]:
    """The epoch that begins with `state`, in the order of `train_epoch`, from arrays that stay where they are."""
    m = len(data.Y)
    rows, present = map(np.asarray, order(state, m, min(batch_size, m), shuffle))
    per_chunk = chunk_length(data.X[0].nbytes * rows.shape[1])
    for start in range(0, len(rows), per_chunk):
        i, there = rows[start : start + per_chunk], present[start : start + per_chunk]
        w = there.astype(np.float32) if data.weights is None else np.where(there, np.asarray(data.weights)[i], 0)
        yield np.asarray(data.X[i]), np.asarray(data.Y[i]), w


def chunks_of_batches(batches: Iterable[Any]) -> Iterator[Chunk]:
    """Batches (X, Y) or (X, Y, weights) in columns, stacked; a smaller one is filled with examples of weight 0."""
    size, held = 0, []
    for batch in batches:
        X, Y, *weights = batch
        X, Y = np.asarray(X).T, np.asarray(Y).T
        m = len(X)
        size = size or m
        if m > size or len(Y) != m:
            hint = ": columns are examples, so pass X.T" if X.shape[1:] == Y.shape[:1] else ""
            raise ValueError(
                f"a batch has X of shape {X.T.shape} and Y of shape {Y.T.shape}; expected as many examples (columns) "
                f"in both, and at most {size}, as in the first batch{hint}"
            )
        w = np.asarray(weights[0], np.float32).reshape(m) if weights else np.ones(m, np.float32)
        held.append(tuple(np.pad(x, [(0, size - m)] + [(0, 0)] * (x.ndim - 1)) for x in (X, Y, w)))
        if len(held) == chunk_length(held[0][0].nbytes):
            yield _stacked(held)
            held = []
    if held:
        yield _stacked(held)


def chunk_length(batch_bytes: int) -> int:
    """The number of batches in a chunk."""
    return max(1, CHUNK_BYTES // max(1, batch_bytes))


def _stacked(batches: list[tuple]) -> Chunk:
    X, Y, w = (np.stack(x) for x in zip(*batches, strict=True))
    return X, Y, w


def fits_on_device(nbytes: int) -> bool:
    """Whether data of that size take less than half of the device's memory, where the device says how much it has."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return nbytes <= stats.get("bytes_limit", np.inf) / 2
