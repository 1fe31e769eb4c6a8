"""The function that runs one epoch, over examples in the device's memory or streamed to it."""

from collections.abc import Callable
from typing import Any

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
from manual_bp._training.streamed_batches import chunks_of_batches, chunks_of_rows, fits_on_device, read_ahead
from manual_bp._training.training_data import Batches, cast_floats
from manual_bp._training.undo_non_finite import ScanSteps, scan_and_check, scan_and_undo

# (state, number of the epoch, counted from 0) -> the state after it, and its steps in arrays of NumPy
EpochRunner = Callable[[TrainState, int], tuple[TrainState, Step]]


def epoch_runner(
    objective: Objective,
    l2: np.ndarray | None,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    shuffle: bool,
    mesh: Mesh | None,
    data: Dataset | Batches,
    dtype: np.dtype,
) -> EpochRunner:
    """The function that runs an epoch. Batches, and arrays memory-mapped or too large for the device, are streamed."""
    if isinstance(data, Dataset) and not isinstance(data.X, np.memmap) and fits_on_device(data.X.nbytes):
        cast = Dataset(cast_floats(data.X, dtype), cast_floats(data.Y, dtype), data.weights)
        placed = jax.device_put(cast) if mesh is None else on_mesh(cast, mesh)
        run = _undoing(lambda scan: epoch_of(objective, optimizer, batch_size, shuffle, mesh, True, scan), mesh)

        def run_program(state: TrainState, epoch: int) -> tuple[TrainState, Step]:
            state, steps = run(state, placed, l2)
            return state, jax.tree.map(np.asarray, steps)

        return run_program

    run_chunk = _undoing(lambda scan: steps_of_chunk(objective, optimizer, scan), mesh)

    def run_chunks(state: TrainState, epoch: int) -> tuple[TrainState, Step]:
        if isinstance(data, Dataset):
            chunks = chunks_of_rows(data, state, batch_size, shuffle)
        else:
            chunks = chunks_of_batches(data(epoch) if callable(data) else data)
        done: list[Step] = []
        for chunk in read_ahead(chunks):
            state, steps = run_chunk(state, *spread(chunk, mesh, 1, objective.dropout), l2)
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

    return run_chunks


def _undoing(
    compiled: Callable[[ScanSteps], Callable[..., tuple[TrainState, Any]]], mesh: Mesh | None
) -> Callable[..., tuple[TrainState, Step]]:
    """Run the steps; if one is not finite, run them again up to that step.

    The second program is compiled only when needed, since it takes nearly as long to compile.
    """
    run, undo = (keeps_placement(compiled(scan), mesh) for scan in (scan_and_check, scan_and_undo))

    def undoing(state: TrainState, *args: Any) -> tuple[TrainState, Step]:
        end, (steps, fine) = run(state, *args)
        return (end, steps) if fine else undo(state, *args)

    return undoing
