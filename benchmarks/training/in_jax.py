"""Training in JAX: by hand, and by autodiff with optax.

"optax_scan" is the strongest form that was found of all that leave the backward pass to autodiff: examples in rows,
read by their index in the same program, weights as they are in the equations (transposed, or all examples put in order
before the scan, it is no faster on two cores, and up to 1.6 times as slow at 784-128-10 and 2,048).
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

import manual_bp as bp
from benchmarks.training.task import ADAM, Examples, Task
from benchmarks.training.trainer import Trainer, outcome
from manual_bp._training.epoch import epoch_order as order
from reference import autodiff


def manual(task: Task) -> Trainer:
    """One call of `bp.train_epoch`."""
    epoch = bp.train_epoch(task.network, ADAM, task.batch_size)
    data = bp.Dataset(*task.data)
    return _trainer(task, lambda state, e: epoch(state, data), _outputs_by_hand)


def optax_scan(task: Task) -> Trainer:
    """All steps in one program, the order of the examples among them."""
    step = _autodiff_step(task)
    m, size = len(task.data.X), task.batch_size

    @functools.partial(jax.jit, donate_argnums=0)
    def epoch(state: bp.TrainState, data: Examples) -> tuple[bp.TrainState, Array]:
        rows, _ = order(state, m, size, True)
        return jax.lax.scan(lambda state, rows: step(state, data, rows), state, rows)

    return _trainer(task, lambda state, e: epoch(state, task.data), _outputs_by_autodiff)


def manual_loop(task: Task) -> Trainer:
    """`bp.train_step` called step by step, in a jit that reads the examples and turns them into columns."""
    step = bp.train_step(task.network, ADAM)

    def of_rows(state: bp.TrainState, data: Examples, rows: Array) -> tuple[bp.TrainState, Array]:
        return step(state, data.X[rows].T, data.Y[rows])

    return _loop(task, of_rows)


def optax_loop(task: Task) -> Trainer:
    """The step of "optax_scan" called step by step."""
    return _loop(task, _autodiff_step(task))


def batches(task: Task) -> Callable[[int], list[Array]]:
    """The rows of each batch of an epoch, on the device before the epoch is timed."""

    @functools.cache
    def of_epoch(epoch: int) -> list[Array]:
        return [jnp.asarray(rows) for rows in task.rows(epoch)]

    of_epoch(0)
    return of_epoch


def _autodiff_step(task: Task) -> Callable[[bp.TrainState, Examples, Array], tuple[bp.TrainState, Array]]:
    value_and_grad = jax.value_and_grad(functools.partial(autodiff.cost_of_rows, task.model))

    def step(state: bp.TrainState, data: Examples, rows: Array) -> tuple[bp.TrainState, Array]:
        params, optimizer_state, n, key = state
        cost, grads = value_and_grad(params, data.X[rows], data.Y[rows])
        updates, optimizer_state = ADAM.update(grads, optimizer_state, params)
        return bp.TrainState(optax.apply_updates(params, updates), optimizer_state, n + 1, key), cost  # pyright: ignore

    return step


def _loop(task: Task, step: Callable[[bp.TrainState, Examples, Array], tuple[bp.TrainState, Array]]) -> Trainer:
    compiled = jax.jit(step, donate_argnums=0)
    batches_of = batches(task)

    def epoch(state: bp.TrainState, e: int) -> tuple[bp.TrainState, list[Array]]:
        costs = []
        for rows in batches_of(e):
            state, cost = compiled(state, task.data, rows)
            costs.append(cost)
        return state, costs

    return _trainer(task, epoch)


def _trainer(
    task: Task,
    epoch: Callable[[bp.TrainState, int], tuple[bp.TrainState, Any]],
    outputs: Callable[[Task, Any, Array], Array] | None = None,
) -> Trainer:
    def start() -> bp.TrainState:
        return jax.tree.map(jnp.copy, task.state)

    def read(state: bp.TrainState, costs: Any) -> Any:
        return outcome(costs, state.params, task.state.params)

    if outputs is None or task.held_out is None:
        return Trainer(start, epoch, read)

    @jax.jit
    def correct(params: Any, X: Array, Y: Array) -> Array:
        return jnp.mean(jnp.argmax(outputs(task, params, X), axis=0) == Y)

    X, Y = task.held_out.X.T, task.held_out.Y
    return Trainer(start, epoch, read, lambda state: float(correct(state.params, X, Y)))


def _outputs_by_hand(task: Task, params: Any, X: Array) -> Array:
    return bp.predict(task.network, params, X)


def _outputs_by_autodiff(task: Task, params: Any, X: Array) -> Array:
    return autodiff.forward(task.model, params, X)[1][-1]
