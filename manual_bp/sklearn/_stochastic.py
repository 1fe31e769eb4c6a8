"""Training by minibatches, epoch after epoch, until scikit-learn's rule ends it."""

import functools
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from manual_bp._cost_rule import cost
from manual_bp._forward import predict
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
    size = min(n, 200 if mlp.batch_size == "auto" else int(mlp.batch_size))
    if mlp.batch_size not in ("auto", size):
        warnings.warn(
            f"batch_size is {mlp.batch_size}, above the number of examples, {n}: all are one batch", stacklevel=4
        )
    sizes = np.minimum(size, n - np.arange(0, n, size))
    optimizer, numbers = solver_of(mlp)
    goal = objective(network, 0.0, mlp.dropout, mlp.compute_dtype)
    training = Training(_state(mlp, optimizer, numbers, params, rng, once), params, mlp.history_)
    rows, rate = np.arange(n, dtype=np.int32), numbers.get("learning_rate")
    stopping.begin_call(mlp, validation is not None)

    def run_epoch(state: TrainState, done: int) -> EpochResult:
        nonlocal rows
        if mlp.shuffle:
            order = np.arange(n)
            rng.shuffle(order)
            rows = rows[order]
        state, steps = _take_steps(goal, optimizer, size, state, data, rows, float(mlp.alpha))
        costs = np.asarray(steps.cost, np.float64)
        if not (finite := np.isfinite(costs)).all():
            raise ValueError(
                f"the loss is not finite at step {np.argmin(finite) + 1} of epoch {mlp.n_iter_ + 1}. The input may "
                "hold large values: scale it, or try a lower learning_rate_init or a max_gradient_norm"
            )
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
                f"max_iter={mlp.max_iter} was reached before the optimization converged",
                ConvergenceWarning,
                stacklevel=4,
            )
    except KeyboardInterrupt:
        warnings.warn("training was interrupted; the last whole epoch is kept", stacklevel=4)
    mlp._optimizer_state, mlp._steps = jax.device_get(training.state.optimizer_state), int(training.state.step)
    return training.best if mlp.early_stopping else training.state.params


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _take_steps(
    goal: Objective,
    optimizer: optax.GradientTransformation,
    size: int,
    state: TrainState,
    data: Dataset,
    rows: Array,
    alpha: Array,
) -> tuple[TrainState, Step]:
    """Takes a step for each batch of rows. The penalty is alpha / 2 |W|^2 over the sum of the batch's weights."""

    def step(state: TrainState, batch: tuple[Array, Array | None]) -> tuple[TrainState, Step]:
        X, Y, w = batch_of_rows(data, *batch)
        total = X.shape[1] if w is None else jnp.sum(w)
        l2 = jnp.where(total > 0, alpha / jnp.where(total > 0, total, 1), 0)
        return descend(goal.with_l2(l2), optimizer, state, X, Y, w, True)

    batches, present = rows_in_batches(rows, size)
    return jax.lax.scan(step, state, (batches, present if len(rows) % size else None))


def _state(
    mlp: Any,
    optimizer: optax.GradientTransformation,
    numbers: dict[str, float],
    params: Params,
    rng: np.random.RandomState,
    once: bool,
) -> TrainState:
    """Returns the state to start from, with the optimizer's state of the last call if that fits."""
    # scikit-learn draws nothing here, so without dropout the random state stays as it is
    seed = rng.randint(2**31 - 1) if np.any(mlp.dropout) else 0
    steps, kept, optimizer_state = 0, mlp._optimizer_state, jax.jit(optimizer.init)(params)
    if _form(kept) == _form(optimizer_state):
        steps, optimizer_state = mlp._steps, jax.device_put(kept)
        numbers |= stopping.rate_to_resume(mlp, kept) if once else {}
    if "learning_rate" in numbers:
        numbers["learning_rate"] = stopping.scheduled_rate(mlp, numbers["learning_rate"])
    optimizer_state = with_numbers(optimizer_state, **numbers)
    return TrainState(params, optimizer_state, jax.device_put(np.int32(steps)), jax.random.key(seed))


def _form(tree: Any) -> tuple[Any, list[tuple[int, ...]]]:
    return jax.tree.structure(tree), [np.shape(leaf) for leaf in jax.tree.leaves(tree)]


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


def hold_out(data: Dataset, fraction: float, strata: Any, rng: np.random.RandomState) -> tuple[Dataset, Dataset]:
    """Splits the rows as scikit-learn does, into examples to train on and examples held out."""
    rows = train_test_split(np.arange(len(data.X)), random_state=rng, test_size=fraction, stratify=strata)
    if len(rows[1]) < 2:
        hint = "expected a fraction that holds out 2 or more"
        raise ValueError(f"validation_fraction is {fraction}, and the number of examples is {len(data.X)}; {hint}")
    return jax.tree.map(lambda x: x[rows[0]], data), jax.tree.map(lambda x: x[rows[1]], data)
