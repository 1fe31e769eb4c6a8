"""The function that runs one epoch, over examples in the device's memory or streamed to it."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from manual_bp._machine.meshes import keeps_placement, on_mesh, spread
from manual_bp._training.dataset import Dataset
from manual_bp._training.epoch import epoch_of, steps_of_chunk
from manual_bp._training.objective import Objective
from manual_bp._training.state import TrainState
from manual_bp._training.step import Step
from manual_bp._training.streamed_batches import Chunk, chunks_of_batches, chunks_of_rows, fits_on_device, read_ahead
from manual_bp._training.training_data import Batches, cast_floats
from manual_bp._training.undo_non_finite import ScanSteps, scan_and_check, scan_and_undo

# (state, number of the epoch, counted from 0) -> the state after it, and its steps in arrays of NumPy
EpochRunner = Callable[[TrainState, int], tuple[TrainState, Step]]


class EpochOptions(NamedTuple):
    """The options that the steps of an epoch are made with."""

    objective: Objective
    optimizer: optax.GradientTransformation
    batch_size: int
    shuffle: bool
    l2: np.ndarray | None = None
    mesh: Mesh | None = None


def epoch_runner(options: EpochOptions, data: Dataset | Batches, state: TrainState) -> EpochRunner:
    """The function for the data: streamed if they are batches, memory-mapped or too large for the device."""
    if not isinstance(data, Dataset):
        return _streamed(options, lambda state, epoch: chunks_of_batches(data(epoch) if callable(data) else data))
    if isinstance(data.X, np.memmap) or not fits_on_device(data.X.nbytes):
        size, shuffle = options.batch_size, options.shuffle
        return _streamed(options, lambda state, epoch: chunks_of_rows(data, state, size, shuffle))
    dtype = state.params[0].W.dtype
    data = Dataset(cast_floats(data.X, dtype), cast_floats(data.Y, dtype), data.weights)
    return _on_device(options, jax.device_put(data) if options.mesh is None else on_mesh(data, options.mesh))


def _on_device(options: EpochOptions, data: Dataset) -> EpochRunner:
    """An epoch is one program."""
    objective, optimizer, size, shuffle, _, mesh = options
    run = _undoing(lambda scan: epoch_of(objective, optimizer, size, shuffle, mesh, True, scan), mesh)

    def run_epoch(state: TrainState, epoch: int) -> tuple[TrainState, Step]:
        state, steps = run(state, data, options.l2)
        return state, jax.tree.map(np.asarray, steps)

    return run_epoch


def _streamed(options: EpochOptions, chunks: Callable[[TrainState, int], Iterable[Chunk]]) -> EpochRunner:
    """An epoch is one call for each chunk, and the next chunk is read meanwhile."""
    run = _undoing(lambda scan: steps_of_chunk(options.objective, options.optimizer, scan), options.mesh)

    def run_epoch(state: TrainState, epoch: int) -> tuple[TrainState, Step]:
        done: list[Step] = []
        for chunk in read_ahead(iter(chunks(state, epoch))):
            state, steps = run(state, *spread(chunk, options.mesh, 1, options.objective.dropout), options.l2)
            # waits for the chunk, while the next one is read
            done.append(jax.tree.map(np.asarray, steps))
            if not np.isfinite(done[-1].cost).all():
                break
        if not done:
            raise ValueError(
                f"there are no batches in epoch {epoch + 1}. An iterator can be read only once; pass a list, or a "
                "function of the epoch that returns new batches"
            )
        return state, jax.tree.map(lambda *x: np.concatenate(x), *done)

    return run_epoch


def _undoing(
    compiled: Callable[[ScanSteps], Callable[..., tuple[TrainState, Any]]], mesh: Mesh | None
) -> Callable[..., tuple[TrainState, Step]]:
    """The steps, undone from the first one that is not finite.

    Undoing repeats steps, and compiles nearly as long as they do, so it is compiled only when it is needed.
    """
    run, undo = (keeps_placement(compiled(scan), mesh) for scan in (scan_and_check, scan_and_undo))

    def undoing(state: TrainState, *args: Any) -> tuple[TrainState, Step]:
        end, (steps, fine) = run(state, *args)
        return (end, steps) if fine else undo(state, *args)

    return undoing
