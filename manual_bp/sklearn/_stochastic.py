"""Training by minibatches, epoch after epoch, until scikit-learn's rule ends it."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array
from sklearn.exceptions import ConvergenceWarning

from manual_bp._forward import predict
from manual_bp._gradient import cost
from manual_bp._network import Network, Params
from manual_bp._training.dataset import Dataset, batch_of_rows
from manual_bp._training.epoch import rows_in_batches
from manual_bp._training.loop import EpochResult, Training, run_epochs
from manual_bp._training.objective import Objective, objective
from manual_bp._training.optimizers import learning_rate_of
from manual_bp._training.state import TrainState
from manual_bp._training.step import Step, descend
from manual_bp.sklearn import _stopping as stopping
from manual_bp.sklearn._solver import solver_of, with_numbers


def fit_stochastic(
    mlp: Any,
    network: Network,
    params: Params,
    data: Dataset,
    validation: Dataset | None,
    rng: np.random.RandomState,
    once: bool,
) -> Params:
    """Trains for `max_iter` epochs, or one if `once`; sets the attributes of the estimator and returns parameters."""
    n, earlier, epochs = len(data.X), len(mlp.history_), 1 if once else mlp.max_iter
    size = _batch_size(mlp.batch_size, n)
    sizes = np.minimum(size, n - np.arange(0, n, size))
    optimizer, numbers = solver_of(mlp)
    take_steps = _compiled_epoch(objective(network, 0.0, mlp.dropout, mlp.compute_dtype), optimizer, size)
    training = Training(_state(mlp, optimizer, numbers, params, rng, once), params, mlp.history_)
    rows, rate = np.arange(n, dtype=np.int32), numbers.get("learning_rate")
    stopping.begin_call(mlp, validation is not None)

    def run_epoch(state: TrainState, done: int) -> EpochResult:
        nonlocal rows
        if mlp.shuffle:
            order = np.arange(n)
            rng.shuffle(order)
            rows = rows[order]
        state, steps = take_steps(state, data, rows, float(mlp.alpha))
        costs = np.asarray(steps.cost, np.float64)
        _check_finite(costs, mlp.n_iter_ + 1)
        return state, {
            "cost": float(costs @ sizes) / n,
            "gradient_norm": float(np.mean(np.asarray(steps.gradient_norm, np.float64))),
            "learning_rate": learning_rate_of(state.optimizer_state) if rate is None else rate,
        }

    def after_epoch(asked: bool) -> str | None:
        nonlocal rate
        before = rate
        rate, converged = stopping.next_rate(mlp, rate)
        if rate is not None and rate != before:
            state = training.state
            training.state = state._replace(optimizer_state=with_numbers(state.optimizer_state, learning_rate=rate))
        return "callback" if asked else "converged" if converged else "epochs" if mlp.n_iter_ >= epochs else None

    try:
        run_epochs(
            training,
            run_epoch=run_epoch,
            validate=lambda params: _validate(mlp, network, params, validation),
            is_best=lambda: stopping.count_epoch(mlp, n),
            after_epoch=after_epoch,
            callbacks=mlp.callbacks or (),
            epochs=earlier + epochs,
            earlier=earlier,
            progress=mlp.progress,
        )
        if training.stopped == "epochs" and not once:
            warnings.warn(
                f"max_iter={mlp.max_iter} epochs were reached before the optimization converged",
                ConvergenceWarning,
                stacklevel=4,
            )
    except KeyboardInterrupt:
        warnings.warn("training was interrupted; the last whole epoch is kept", stacklevel=4)
    mlp._optimizer_state, mlp._steps = jax.device_get(training.state.optimizer_state), int(training.state.step)
    return training.best if mlp.early_stopping else training.state.params


@functools.lru_cache(maxsize=256)
def _compiled_epoch(
    objective: Objective, optimizer: optax.GradientTransformation, size: int
) -> Callable[..., tuple[TrainState, Step]]:
    """A step for each batch of `size` rows. The penalty is alpha / 2 |W|^2 over the sum of the batch's weights."""

    @jax.jit
    def epoch(state: TrainState, data: Dataset, rows: Array, alpha: Array) -> tuple[TrainState, Step]:
        def step(state: TrainState, batch: tuple[Array, Array | None]) -> tuple[TrainState, Step]:
            X, Y, w = batch_of_rows(data, *batch)
            total = X.shape[1] if w is None else jnp.sum(w)
            l2 = jnp.where(total > 0, alpha / jnp.where(total > 0, total, 1), 0)
            return descend(objective.with_l2(l2), optimizer, state, X, Y, w, True)

        batches, present = rows_in_batches(rows, size)
        return jax.lax.scan(step, state, (batches, present if len(rows) % size else None))

    return epoch


def _batch_size(batch_size: Any, n: int) -> int:
    if batch_size == "auto":
        return min(200, n)
    if batch_size > n:
        warnings.warn(f"batch_size is {batch_size}, but there are {n} examples: all are one batch", stacklevel=5)
    return min(int(batch_size), n)


def _state(
    mlp: Any,
    optimizer: optax.GradientTransformation,
    numbers: dict[str, float],
    params: Params,
    rng: np.random.RandomState,
    once: bool,
) -> TrainState:
    """The state to start from, with the optimizer's state of the last call if that fits."""
    # scikit-learn draws nothing here, so without dropout the random state stays as it is
    seed = rng.randint(2**31 - 1) if np.any(mlp.dropout) else 0
    steps, kept, optimizer_state = 0, mlp._optimizer_state, _compiled_init(optimizer)(params)
    if _have_equal_shapes(kept, optimizer_state):
        steps, optimizer_state = mlp._steps, jax.device_put(kept)
        numbers |= stopping.rate_to_resume(mlp, kept) if once else {}
    if "learning_rate" in numbers:
        numbers["learning_rate"] = stopping.scheduled_rate(mlp, numbers["learning_rate"])
    optimizer_state = with_numbers(optimizer_state, **numbers)
    return TrainState(params, optimizer_state, jax.device_put(np.int32(steps)), jax.random.key(seed))


def _have_equal_shapes(a: Any, b: Any) -> bool:
    shapes = [[np.shape(leaf) for leaf in jax.tree.leaves(tree)] for tree in (a, b)]
    return jax.tree.structure(a) == jax.tree.structure(b) and shapes[0] == shapes[1]


@functools.lru_cache(maxsize=256)
def _compiled_init(optimizer: optax.GradientTransformation) -> Callable[[Params], Any]:
    return jax.jit(optimizer.init)


@jax.jit
def _evaluated(network: Network, params: Params, data: Dataset) -> tuple[Array, Array]:
    X, Y, w = data
    return predict(network, params, X.T), cost(network, params, X.T, Y.T, w)


def _validate(mlp: Any, network: Network, params: Params, data: Dataset | None) -> tuple[float | None, float | None]:
    if data is None:
        return None, None
    A, c = _evaluated(network, params, data)
    A, Y, w = (None if x is None else np.asarray(x) for x in (A, data.Y, data.weights))
    score = float(mlp._score_outputs(A, Y, w)) if np.isfinite(A).all() else np.nan
    return float(c), score


def _check_finite(costs: np.ndarray, epoch: int) -> None:
    if not np.isfinite(costs).all():
        step = int(np.argmin(np.isfinite(costs))) + 1
        raise ValueError(
            f"the loss is not finite at step {step} of epoch {epoch}. The input may hold large values: scale it, or "
            "try a lower learning_rate_init or a max_gradient_norm"
        )
