"""Optimizers by name, with a learning rate that can be read and set while they run."""

import functools

import jax
import numpy as np
import optax

from manual_bp._checks import numbers
from manual_bp._training.state import TrainState, is_optimizer

# The direction of a step; its length is the learning rate
DIRECTIONS = {
    "adam": optax.scale_by_adam,
    "adagrad": optax.scale_by_rss,
    "lion": optax.scale_by_lion,
    "momentum": functools.partial(optax.trace, decay=0.9),
    "nadam": functools.partial(optax.scale_by_adam, nesterov=True),
    "nesterov": functools.partial(optax.trace, decay=0.9, nesterov=True),
    "rmsprop": optax.scale_by_rms,
    "sgd": optax.identity,
}

LearningRate = float | optax.Schedule


def optimizer_of(
    optimizer: str | optax.GradientTransformation, learning_rate: LearningRate | None, max_gradient_norm: float | None
) -> optax.GradientTransformation:
    """The optimizer of options as a user gives them: the same ones give the same object, so nothing compiles twice.

    One given by name keeps its learning rate in its state: its schedule's, or what `with_learning_rate` puts there.
    """
    if isinstance(optimizer, str):
        if optimizer not in DIRECTIONS:
            raise ValueError(f"optimizer is {optimizer!r}; expected one of {', '.join(DIRECTIONS)}, or one of optax's")
        schedule = learning_rate if callable(learning_rate) else None
        if schedule is None and learning_rate is not None:
            numbers.known("learning_rate", numbers.positive("learning_rate", learning_rate))
        return _with_norm(_by_name(optimizer, schedule), _max_norm(max_gradient_norm))
    is_optimizer(optimizer)
    if learning_rate is not None:
        raise ValueError("learning_rate is given beside an optimizer that has its own; expected one of the two")
    return _with_norm(optimizer, _max_norm(max_gradient_norm))


def learning_rate_of(optimizer_state: optax.OptState) -> float | None:
    """The learning rate of the last step, where the optimizer's state holds it (`optax.inject_hyperparams`)."""
    found = optax.tree.get_all_with_path(optimizer_state, "learning_rate")
    rates = [value for _, value in found if isinstance(value, jax.Array) and value.ndim == 0]
    return float(rates[-1]) if rates else None


def with_learning_rate(state: TrainState, learning_rate: LearningRate) -> TrainState:
    """The state with this rate, where it holds one and the rate is a number."""
    if callable(learning_rate) or learning_rate_of(state.optimizer_state) is None:
        return state
    rate = jax.device_put(np.asarray(learning_rate, state.params[0].W.dtype))
    return state._replace(optimizer_state=optax.tree.set(state.optimizer_state, learning_rate=rate))


def _max_norm(value: float | None) -> float | None:
    return None if value is None else numbers.known("max_gradient_norm", numbers.positive("max_gradient_norm", value))


@functools.lru_cache(maxsize=256)
def _by_name(name: str, schedule: optax.Schedule | None) -> optax.GradientTransformation:
    length = optax.inject_hyperparams(optax.scale_by_learning_rate, static_args="flip_sign")
    return optax.chain(DIRECTIONS[name](), length(np.nan if schedule is None else schedule))


@functools.lru_cache(maxsize=256)
def _with_norm(optimizer: optax.GradientTransformation, max_norm: float | None) -> optax.GradientTransformation:
    if max_norm is None:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(max_norm), optimizer)
