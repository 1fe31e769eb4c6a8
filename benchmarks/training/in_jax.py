"""Training in JAX: by hand, and by autodiff with optax.

"optax_scan" is the fastest form with autodiff that was found: examples in rows, read by their index in the same
program, and weights as in the equations. With transposed weights, or with all examples put in order before the scan, it
is no faster on two cores, and up to 1.6 times as slow at 784-128-10 and 2,048.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

import manual_bp as bp
from benchmarks import fused
from benchmarks.training.task import ADAM, Task, TrainingData
from benchmarks.training.trainer import Trainer, outcome
from reference import autodiff


def manual(task: Task) -> Trainer:
    """Train with one call of `bp.train_epoch`."""
    epoch = bp.train_epoch(task.network, ADAM, task.batch_size)
    data = bp.Dataset(*task.data)
    return _trainer(task, lambda state, e: epoch(state, data), _outputs_by_hand)


def manual_fused(task: Task) -> Trainer:
    """Train with one call of `bp.train_epoch` whose gradients are those of the fused kernel."""
    data, (X, Y) = bp.Dataset(*task.data), (x[: task.batch_size] for x in task.data)

    @functools.cache
    def made() -> Callable[..., tuple[bp.TrainState, Array]]:
        gradient = fused.with_kernel(bp.value_and_grad)(task.network)
        if reason := fused.another_way(gradient, task.state.params, X.T, Y):
            raise RuntimeError(reason)
        return fused.with_kernel(bp.train_epoch)(task.network, ADAM, task.batch_size)

    trainer = _trainer(task, lambda state, e: made()(state, data), _outputs_by_hand)
    return trainer._replace(may_fail=fused.REFUSALS)


def optax_scan(task: Task) -> Trainer:
    """Train with all steps in one program, which also draws the order of the examples."""
    step = _autodiff_step(task)

    @functools.partial(jax.jit, donate_argnums=0)
    def epoch(state: bp.TrainState, data: TrainingData) -> tuple[bp.TrainState, Array]:
        return jax.lax.scan(lambda state, rows: step(state, data, rows), state, task.drawn_rows(state))

    return _trainer(task, lambda state, e: epoch(state, task.data), _outputs_by_autodiff)


def manual_loop(task: Task) -> Trainer:
    """Call `bp.train_step` step by step, in a jit that reads the examples and turns them into columns."""
    step = bp.train_step(task.network, ADAM)

    def of_rows(state: bp.TrainState, data: TrainingData, rows: Array) -> tuple[bp.TrainState, Array]:
        return step(state, data.X[rows].T, data.Y[rows])

    return _loop(task, of_rows)


def optax_loop(task: Task) -> Trainer:
    """Call the step of "optax_scan" step by step."""
    return _loop(task, _autodiff_step(task))


def stepwise(task: Task, step: Callable[..., tuple[Any, Array]]) -> Callable[[Any, int], tuple[Any, list[Array]]]:
    """(state, number of the epoch) -> (state, costs): an epoch that calls step(state, data, rows) for each batch.

    The rows of the first epoch are on the device before it is timed.
    """

    @functools.cache
    def batches(epoch: int) -> list[Array]:
        return [jnp.asarray(rows) for rows in task.rows(epoch)]

    def epoch(state: Any, e: int) -> tuple[Any, list[Array]]:
        costs = []
        for rows in batches(e):
            state, cost = step(state, task.data, rows)
            costs.append(cost)
        return state, costs

    batches(0)
    return epoch


def _autodiff_step(task: Task) -> Callable[[bp.TrainState, TrainingData, Array], tuple[bp.TrainState, Array]]:
    value_and_grad = jax.value_and_grad(functools.partial(autodiff.cost_of_rows, task.model))

    def step(state: bp.TrainState, data: TrainingData, rows: Array) -> tuple[bp.TrainState, Array]:
        params, optimizer_state, n, key = state
        cost, grads = value_and_grad(params, data.X[rows], data.Y[rows])
        updates, optimizer_state = ADAM.update(grads, optimizer_state, params)
        return bp.TrainState(optax.apply_updates(params, updates), optimizer_state, n + 1, key), cost  # pyright: ignore

    return step


def _loop(task: Task, step: Callable[[bp.TrainState, TrainingData, Array], tuple[bp.TrainState, Array]]) -> Trainer:
    return _trainer(task, stepwise(task, jax.jit(step, donate_argnums=0)))


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
