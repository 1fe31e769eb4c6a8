"""Training by minibatches: one epoch, compiled as a whole."""

from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from manual_bp._gradient import value_and_grad
from manual_bp._network import Network, Params

State = tuple[Params, optax.OptState]
Epoch = Callable[[State, Array, Array, Array], tuple[State, Array]]


def train_epoch(network: Network, optimizer: optax.GradientTransformation, batch_size: int) -> Epoch:
    """The function (state, key, X, y) -> (state, cost): a step for each minibatch, all examples in random order.

    X is stored with examples first, (m, n_0), where the rows of a batch lie together; the equations get their
    transpose. The returned cost is the mean over examples, each taken at its own step's parameters.
    """

    @jax.jit
    def train_epoch(state: State, key: Array, X: Array, y: Array) -> tuple[State, Array]:
        m = len(y)
        size = min(batch_size, m)
        batches = -(-m // size)
        order = jax.random.permutation(key, m)
        # The last batch may be partial: it is filled up with examples of weight zero, which are absent
        order = jnp.pad(order, (0, batches * size - m)).reshape(batches, size)
        present = (jnp.arange(batches * size) < m).astype(X.dtype).reshape(batches, size)

        def step(state: State, batch: tuple[Array, Array]) -> tuple[State, Array]:
            (params, optimizer_state), (rows, weights) = state, batch
            c, grads = value_and_grad(network)(params, X[rows].T, y[rows], weights)
            updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
            params = cast(Params, optax.apply_updates(params, updates))
            return (params, optimizer_state), c * jnp.sum(weights)

        state, costs = jax.lax.scan(step, state, (order, present))
        return state, jnp.sum(costs) / m

    return train_epoch
