"""Optimizers by name, with a learning rate that can be read and changed between steps."""

import functools
from typing import Any

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
    """The optimizer for a user's options. Equal options give the same object, so that nothing compiles twice.

    An optimizer given by name keeps its learning rate in its state: the schedule's, or one set by `with_learning_rate`.
    """
    if isinstance(optimizer, str):
        if optimizer not in DIRECTIONS:
            raise ValueError(f"optimizer is {optimizer!r}; expected one of {', '.join(DIRECTIONS)}, or one of optax's")
        if learning_rate is not None and not callable(learning_rate):
            numbers.known("learning_rate", numbers.positive("learning_rate", learning_rate))
        optimizer = _by_name(optimizer, learning_rate if callable(learning_rate) else None)
    elif learning_rate is not None:
        raise ValueError("learning_rate is given, but the optimizer object has its own; expected one of the two")
    is_optimizer(optimizer)
    if max_gradient_norm is not None:
        max_gradient_norm = numbers.known("max_gradient_norm", numbers.positive("max_gradient_norm", max_gradient_norm))
    return _clipped(max_gradient_norm, optimizer)


def learning_rate_of(optimizer_state: optax.OptState) -> float | None:
    """The learning rate of the last step; None unless the optimizer's state holds it (`optax.inject_hyperparams`)."""
    found = optax.tree.get_all_with_path(optimizer_state, "learning_rate")
    rates = [value for _, value in found if isinstance(value, jax.Array) and value.ndim == 0]
    return float(rates[-1]) if rates else None


def with_learning_rate(state: TrainState, learning_rate: LearningRate) -> TrainState:
    """The state with this learning rate, if it holds one; unchanged if the rate is a schedule."""
    if callable(learning_rate) or learning_rate_of(state.optimizer_state) is None:
        return state
    rate = jax.device_put(np.asarray(learning_rate, state.params[0].W.dtype))
    return state._replace(optimizer_state=optax.tree.set(state.optimizer_state, learning_rate=rate))


@functools.lru_cache(maxsize=256)
def _by_name(name: str, schedule: optax.Schedule | None) -> optax.GradientTransformation:
    length = optax.inject_hyperparams(optax.scale_by_learning_rate, static_args="flip_sign")
    return optax.chain(DIRECTIONS[name](), length(np.nan if schedule is None else schedule))


def clipped(max_norm: Any, optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimizer, on gradients scaled down to a norm of at most `max_norm`; as it is if that is None."""
    if max_norm is None:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(max_norm), optimizer)


_clipped = functools.lru_cache(maxsize=256)(clipped)
