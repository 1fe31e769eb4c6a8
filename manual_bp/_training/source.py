"""Where the examples of an epoch come from: the device's memory, or a stream."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from manual_bp._machine.meshes import keeps_placement, on_mesh, spread
from manual_bp._training.dataset import Dataset
from manual_bp._training.epoch import chunk_of, epoch_of
from manual_bp._training.examples import Batches, cast_floats
from manual_bp._training.finite import Take, finite_steps, steps_as_they_are
from manual_bp._training.objective import Objective
from manual_bp._training.state import TrainState
from manual_bp._training.step import Step
from manual_bp._training.stream import Chunk, ahead, chunks_of_batches, chunks_of_rows, fits_on_device

# The state before an epoch and the number of the epoch -> the state after it, and what is known of its steps, in NumPy
Source = Callable[[TrainState, int], tuple[TrainState, Step]]


class Plan(NamedTuple):
    """How a source makes steps of examples."""

    objective: Objective
    optimizer: optax.GradientTransformation
    batch_size: int
    shuffle: bool
    l2: np.ndarray | None = None
    mesh: Mesh | None = None


def source(plan: Plan, data: Dataset | Batches, state: TrainState) -> Source:
    """The device's memory where the examples are arrays that fit into it, else a stream."""
    if not isinstance(data, Dataset):
        return from_batches(plan, data)
    if isinstance(data.X, np.memmap) or not fits_on_device(data.X.nbytes):
        return from_arrays(plan, data)
    dtype = state.params[0].W.dtype
    X, Y = (cast_floats(x, dtype) for x in (data.X, data.Y))
    data = Dataset(X, Y, data.weights)
    return on_device(plan, jax.device_put(data) if plan.mesh is None else on_mesh(data, plan.mesh))


def on_device(plan: Plan, data: Dataset) -> Source:
    """All examples are on the device, and an epoch is one program."""
    goal, descent, size, shuffle, _, mesh = plan
    run = _finite(lambda take: epoch_of(goal, descent, size, shuffle, mesh, True, take), mesh)

    def source(state: TrainState, epoch: int) -> tuple[TrainState, Step]:
        state, steps = run(state, data, plan.l2)
        return state, jax.tree.map(np.asarray, steps)

    return source


def from_arrays(plan: Plan, data: Dataset) -> Source:
    """Arrays that stay where they are, such as memory-mapped files, are read in the same order, batch by batch."""
    return _streamed(plan, lambda state, epoch: chunks_of_rows(data, state, plan.batch_size, plan.shuffle))


def from_batches(plan: Plan, batches: Batches) -> Source:
    """Batches (X, Y) or (X, Y, weights) in columns, or a function of the epoch, counted from 0, that gives them."""

    def chunks(state: TrainState, epoch: int) -> Iterable[Chunk]:
        return chunks_of_batches(batches(epoch) if callable(batches) else batches)

    return _streamed(plan, chunks)


def _streamed(plan: Plan, chunks: Callable[[TrainState, int], Iterable[Chunk]]) -> Source:
    run = _finite(lambda take: chunk_of(plan.objective, plan.optimizer, take), plan.mesh)

    def source(state: TrainState, epoch: int) -> tuple[TrainState, Step]:
        done: list[Step] = []
        for chunk in ahead(iter(chunks(state, epoch))):
            state, steps = run(state, *spread(chunk, plan.mesh, 1, plan.objective.dropout), plan.l2)
            # waits for the chunk, while the next one is read
            done.append(jax.tree.map(np.asarray, steps))
            if not np.isfinite(done[-1].cost).all():
                break
        if not done:
            raise ValueError(
                f"there are no batches in epoch {epoch + 1}; an iterator can be read once: expected a list, or a "
                "function of the epoch that gives them anew"
            )
        return state, jax.tree.map(lambda *x: np.concatenate(x), *done)

    return source


def _finite(
    taking: Callable[[Take], Callable[..., tuple[TrainState, Any]]], mesh: Mesh | None
) -> Callable[..., tuple[TrainState, Step]]:
    """The steps, of which those from the first that is not finite on are undone.

    To undo is to take those before again, which is nearly as much to compile as the steps: it waits until it is needed.
    """
    run, undo = (keeps_placement(taking(take), mesh) for take in (steps_as_they_are, finite_steps))

    def finite(state: TrainState, *args: Any) -> tuple[TrainState, Step]:
        end, (steps, fine) = run(state, *args)
        return (end, steps) if fine else undo(state, *args)

    return finite
