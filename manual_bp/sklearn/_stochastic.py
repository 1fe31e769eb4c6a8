"""Minibatches of all examples, epoch after epoch, until scikit-learn's rule ends them."""

import functools
import time
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
from manual_bp._training.dataset import Dataset
from manual_bp._training.fit import Epoch
from manual_bp._training.objective import Objective, objective
from manual_bp._training.optimizers import learning_rate_of
from manual_bp._training.progress import bar
from manual_bp._training.state import TrainState
from manual_bp._training.step import Step, descend
from manual_bp.sklearn import _rule as rule
from manual_bp.sklearn._optimizer import optimizer_of, with_numbers


def fit_stochastic(
    mlp: Any,
    network: Network,
    params: Params,
    data: Dataset,
    validation: Dataset | None,
    rng: np.random.RandomState,
    once: bool,
) -> Params:
    """Trains by minibatches, for an epoch if `once`; sets what is known of it, and returns the parameters to keep."""
    n = len(data.X)
    size = _batch_size(mlp.batch_size, n)
    optimizer, numbers = optimizer_of(mlp)
    run = epoch_of(objective(network, 0.0, mlp.dropout, mlp.compute_dtype), optimizer)
    state = _state(mlp, network, optimizer, numbers, params, rng, once)
    rows, best, epochs = np.arange(n, dtype=np.int32), params, 1 if once else mlp.max_iter
    rate, ended = numbers.get("learning_rate"), False
    rule.begin(mlp, validation is not None)
    try:
        with bar(len(mlp.history_) + epochs, len(mlp.history_), mlp.progress) as show:
            while not ended and mlp.n_iter_ < epochs:
                began = time.perf_counter()
                if mlp.shuffle:
                    order = np.arange(n)
                    rng.shuffle(order)
                    rows = rows[order]
                batches, present = _batches(rows, size)
                state, steps = run(state, data, batches, present, float(mlp.alpha))
                costs, sizes = np.asarray(steps.cost, np.float64), np.full(len(batches), size)
                _all_finite(costs, mlp.n_iter_ + 1)
                sizes[-1] = n - size * (len(batches) - 1)
                validated = _validate(mlp, network, state.params, validation)
                mlp.history_.append(
                    cost=float(costs @ sizes) / n,
                    gradient_norm=float(np.mean(np.asarray(steps.gradient_norm, np.float64))),
                    **validated,
                    learning_rate=learning_rate_of(state.optimizer_state) if rate is None else rate,
                    seconds=time.perf_counter() - began,
                )
                mlp.n_iter_ += 1
                mlp.t_ += n
                if rule.improved(mlp):
                    best = state.params
                show(mlp.history_)
                epoch = Epoch(mlp.n_iter_, state, mlp.history_)
                # every one is called
                called = [callback(epoch) is True for callback in mlp.callbacks or ()]
                before = rate
                rate, ended = rule.after(mlp, rate)
                ended = ended or any(called)
                if rate is not None and rate != before:
                    state = state._replace(optimizer_state=with_numbers(state.optimizer_state, learning_rate=rate))
            if not ended and not once:
                warnings.warn(
                    f"max_iter={mlp.max_iter} epochs were reached before the optimization converged",
                    ConvergenceWarning,
                    stacklevel=4,
                )
    except KeyboardInterrupt:
        warnings.warn("training was interrupted: it ends with the last whole epoch", stacklevel=4)
    mlp._optimizer_state, mlp._steps = jax.device_get(state.optimizer_state), int(state.step)
    return best if mlp.early_stopping else state.params


@functools.lru_cache(maxsize=256)
def epoch_of(objective: Objective, optimizer: optax.GradientTransformation) -> Callable[..., tuple[TrainState, Step]]:
    """A step for each batch, compiled. The penalty is alpha / 2 |W|^2 over the sum of the batch's weights."""

    @jax.jit
    def epoch(
        state: TrainState, data: Dataset, rows: Array, present: Array | None, alpha: Array
    ) -> tuple[TrainState, Step]:
        def step(state: TrainState, batch: tuple[Array, Array | None]) -> tuple[TrainState, Step]:
            rows, present = batch
            X, Y, w = jax.tree.map(lambda x: x[rows], data)
            if present is not None:
                w = jnp.where(present, 1 if w is None else w, 0).astype(X.dtype)
            total = len(rows) if w is None else jnp.sum(w)
            l2 = jnp.where(total > 0, alpha / jnp.where(total > 0, total, 1), 0)
            return descend(objective.with_l2(l2), optimizer, state, X.T, Y.T, w, True)

        return jax.lax.scan(step, state, (rows, present))

    return epoch


def _batch_size(batch_size: Any, n: int) -> int:
    if batch_size == "auto":
        return min(200, n)
    if batch_size > n:
        warnings.warn(f"batch_size is {batch_size}, and there are {n} examples: all are one batch", stacklevel=5)
    return min(int(batch_size), n)


def _batches(rows: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The rows of each batch; where the last one is not full, it is filled up, and which are there is said."""
    missing = -len(rows) % size
    if not missing:
        return rows.reshape(-1, size), None
    present = np.arange(len(rows) + missing) < len(rows)
    return np.pad(rows, (0, missing)).reshape(-1, size), present.reshape(-1, size)


def _state(
    mlp: Any,
    network: Network,
    optimizer: optax.GradientTransformation,
    numbers: dict[str, float],
    params: Params,
    rng: np.random.RandomState,
    once: bool,
) -> TrainState:
    """The state to start from: with the optimizer's of the last call, where there is one that fits."""
    # nothing is drawn that scikit-learn would not draw
    seed = rng.randint(2**31 - 1) if np.any(mlp.dropout) else 0
    steps, kept, optimizer_state = 0, mlp._optimizer_state, _initial(optimizer)(params)
    if _alike(kept, optimizer_state):
        steps, optimizer_state = mlp._steps, jax.device_put(kept)
        numbers |= rule.carried_over(mlp, kept) if once else {}
    if "learning_rate" in numbers:
        numbers["learning_rate"] = rule.scheduled(mlp, numbers["learning_rate"])
    return TrainState(
        params, with_numbers(optimizer_state, **numbers), jax.device_put(np.int32(steps)), jax.random.key(seed)
    )


def _alike(kept: Any, fresh: Any) -> bool:
    same = jax.tree.structure(kept) == jax.tree.structure(fresh)
    return same and all(
        map(np.array_equal, map(np.shape, jax.tree.leaves(kept)), map(np.shape, jax.tree.leaves(fresh)))
    )


@functools.lru_cache(maxsize=256)
def _initial(optimizer: optax.GradientTransformation) -> Callable[[Params], Any]:
    return jax.jit(optimizer.init)


@jax.jit
def _evaluated(network: Network, params: Params, data: Dataset) -> tuple[Array, Array]:
    X, Y, w = data
    return predict(network, params, X.T), cost(network, params, X.T, Y.T, w)


def _validate(mlp: Any, network: Network, params: Params, data: Dataset | None) -> dict[str, float | None]:
    if data is None:
        return {"validation_cost": None, "validation_metric": None}
    A, c = _evaluated(network, params, data)
    A, Y, w = (None if x is None else np.asarray(x) for x in (A, data.Y, data.weights))
    score = float(mlp._score_outputs(A, Y, w)) if np.isfinite(A).all() else np.nan
    return {"validation_cost": float(c), "validation_metric": score}


def _all_finite(costs: np.ndarray, epoch: int) -> None:
    if not np.isfinite(costs).all():
        step = int(np.argmin(np.isfinite(costs))) + 1
        raise ValueError(
            f"the loss is not finite at step {step} of epoch {epoch}. The input may hold large values: scale it, or "
            "try a lower learning_rate_init or a max_gradient_norm"
        )
