"""The optimizers behind `solver`. Their numbers are part of the state, so that a new value compiles nothing."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from manual_bp._training.optimizers import clipped


def solver_of(mlp: Any) -> tuple[optax.GradientTransformation, dict[str, float]]:
    """Returns the optimizer, one object for equal solvers, and the numbers for `with_numbers` to put into its state."""
    clip = {} if mlp.max_gradient_norm is None else {"max_norm": mlp.max_gradient_norm}
    if mlp.solver == "adam":
        numbers = {"beta_1": mlp.beta_1, "beta_2": mlp.beta_2, "epsilon": mlp.epsilon}
        numbers |= {"learning_rate": mlp.learning_rate_init, **clip}
        return _adjustable(adam, *numbers), numbers
    if mlp.solver == "sgd":
        numbers = {"learning_rate": mlp.learning_rate_init, "momentum": mlp.momentum, **clip}
        return _adjustable(sgd, *numbers, nesterov=bool(mlp.nesterovs_momentum)), numbers
    return (_adjustable(clipped, *clip, optimizer=mlp.solver) if clip else mlp.solver), clip


@functools.lru_cache(maxsize=256)
def _adjustable(
    factory: Callable[..., optax.GradientTransformation], *numbers: str, **fixed: Any
) -> optax.GradientTransformation:
    return optax.inject_hyperparams(factory)(**dict.fromkeys(numbers, 0.5), **fixed)


def with_numbers(state: Any, **values: float) -> Any:
    """Returns the optimizer's state with other numbers in it."""
    if not values:
        return state
    numbers = state.hyperparams
    return state._replace(hyperparams=numbers | {k: np.asarray(v, numbers[k].dtype) for k, v in values.items()})


def sgd(learning_rate: Any, momentum: Any, nesterov: bool, max_norm: Any = None) -> optax.GradientTransformation:
    """Momentum: v := momentum v - rate dW, then W := W + v; with nesterov W := W + momentum v - rate dW.

    As in scikit-learn, a change of the rate leaves the velocity of earlier steps as it is.
    """
    return clipped(max_norm, optax.chain(optax.scale_by_learning_rate(learning_rate), optax.trace(momentum, nesterov)))


def adam(
    learning_rate: Any, beta_1: Any, beta_2: Any, epsilon: Any, max_norm: Any = None
) -> optax.GradientTransformation:
    """Adam as in scikit-learn: W := W - rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon).

    This is the form at the end of section 2 of Kingma and Ba, Adam: a method for stochastic optimization (2014). In
    their algorithm 1, which is optax's, epsilon takes the place of epsilon / sqrt(1 - beta_2^t).
    """

    def update(updates: optax.Updates, state: Any, params: optax.Params | None = None) -> tuple[Any, Any]:
        epsilon_t = epsilon / jnp.sqrt(1 - beta_2 ** (state.count + 1))
        return optax.scale_by_adam(beta_1, beta_2, epsilon_t).update(updates, state, params)

    direction = optax.GradientTransformation(optax.scale_by_adam().init, update)
    return clipped(max_norm, optax.chain(direction, optax.scale_by_learning_rate(learning_rate)))
