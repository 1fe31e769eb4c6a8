"""One step of an optimizer, and how well a network does after some."""

from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp
import optax

import manual_bp as bp
from manual_bp._network import Params

State = tuple[Params, optax.OptState]


def descent_step(
    network: bp.Network, optimizer: optax.GradientTransformation
) -> Callable[[State, jax.Array, jax.Array], tuple[State, jax.Array]]:
    """The function (state, X, y) -> (state, cost before it): a step along the gradient of all the examples' cost."""

    def step(state: State, X: jax.Array, y: jax.Array) -> tuple[State, jax.Array]:
        cost, grads = bp.value_and_grad(network)(state[0], X, y)
        return updated(optimizer, state, grads), cost

    return step


def updated(optimizer: optax.GradientTransformation, state: State, grads: Params) -> State:
    """What the optimizer makes of the parameters and of its own state."""
    params, optimizer_state = state
    updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
    return cast(Params, optax.apply_updates(params, updates)), optimizer_state


def accuracy(network: bp.Network, params: Params, X: jax.Array, y: jax.Array) -> float:
    """The share of examples to which the network gives their class."""
    return float(jnp.mean(jnp.argmax(bp.predict(network, params, X), axis=0) == y))
