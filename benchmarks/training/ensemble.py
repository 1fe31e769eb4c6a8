"""Many small networks, each trained for one epoch of the digits: all at once, or one after the other."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

import manual_bp as bp
from benchmarks.training.task import ADAM, Task, digits
from benchmarks.training.trainer import Outcome, Trainer, Training, outcome

SIZES, BATCH_SIZE = (64, 32, 10), 32


def of_cell(members: int) -> dict[str, Training]:
    """The programs of a cell: "manual" trains all networks in one call, "one_by_one" in a call for each.

    "control" is a second copy of "one_by_one". The networks differ in their weights and the order of their examples.
    """
    tasks = [digits(SIZES, BATCH_SIZE, seed) for seed in range(members)]
    trainers = {"manual": _at_once(tasks), "one_by_one": _one_by_one(tasks), "control": _one_by_one(tasks)}
    return {name: Training(trainer) for name, trainer in trainers.items()}


def _at_once(tasks: Sequence[Task]) -> Trainer:
    first = stacked([task.state for task in tasks])
    data = bp.Dataset(*tasks[0].data)
    train = jax.jit(jax.vmap(_epoch(tasks[0]), in_axes=(0, None)))

    def epoch(state: bp.TrainState, e: int) -> tuple[bp.TrainState, jax.Array]:
        return train(state, data)

    def read(state: bp.TrainState, costs: jax.Array) -> Outcome:
        return outcome(costs, state.params, first.params)

    return Trainer(lambda: first, epoch, read)


def _one_by_one(tasks: Sequence[Task]) -> Trainer:
    states = [task.state for task in tasks]
    data = bp.Dataset(*tasks[0].data)
    train = _epoch(tasks[0])

    def epoch(states: list[bp.TrainState], e: int) -> tuple[list[bp.TrainState], list[jax.Array]]:
        trained = [train(state, data) for state in states]
        return [state for state, _ in trained], [costs for _, costs in trained]

    def read(ends: list[bp.TrainState], costs: list[jax.Array]) -> Outcome:
        return outcome(jnp.stack(costs), stacked(ends).params, stacked(states).params)

    return Trainer(lambda: states, epoch, read)


def _epoch(task: Task) -> Any:
    return bp.train_epoch(task.network, ADAM, task.batch_size)


def stacked(states: Sequence[bp.TrainState]) -> bp.TrainState:
    return jax.tree.map(lambda *x: jnp.stack(x), *states)
