"""The task of training: a network, examples in rows, and for all programs the same first state and order."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import manual_bp as bp
from benchmarks.program import random_problem
from manual_bp._training.epoch import epoch_order as order
from reference import autodiff

LEARNING_RATE = 1e-3
ADAM = optax.adam(LEARNING_RATE)  # one object, so that bp.train_step compiles only once
TRAINED_ON = 1440  # digits, a whole number of batches of 32; the remaining 357 are held out


class TrainingData(NamedTuple):
    """Examples in rows, and the class index of each."""

    X: jax.Array
    Y: jax.Array


class Task(NamedTuple):
    network: bp.Network
    model: autodiff.Model
    state: bp.TrainState  # before the first step
    data: TrainingData
    batch_size: int
    held_out: TrainingData | None = None

    @property
    def steps(self) -> int:
        """The number of steps in an epoch; all batches are whole."""
        return len(self.data.X) // self.batch_size

    def rows(self, epoch: int) -> np.ndarray:
        """The rows of each batch of an epoch, in the order that `bp.train_epoch` draws: (steps, m)."""
        state = self.state._replace(step=self.state.step + epoch * self.steps)
        return np.asarray(self.drawn_rows(state))

    def drawn_rows(self, state: bp.TrainState) -> jax.Array:
        """The rows of each batch of the epoch that begins with a state."""
        return order(state, len(self.data.X), self.batch_size, True)[0]


def in_float64(task: Task) -> Task:
    """The same task in float64; call it under `jax.enable_x64`."""

    def wide(x: Any) -> Any:
        return x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return task._replace(state=jax.tree.map(wide, task.state), data=TrainingData(*map(wide, task.data)))


def steps_of_a_call(batch_size: int) -> int:
    """The number of steps with which a call takes some 5 to 200 ms on two cores."""
    return max(4, min(64, 4096 // batch_size))


def synthetic(sizes: tuple[int, ...], batch_size: int, **activations: str) -> Task:
    """The random examples of the other suites, as many as the steps of a call need."""
    examples = batch_size * steps_of_a_call(batch_size)
    network, model, params, X, Y = random_problem(sizes, examples, "float32", **activations)
    return Task(network, model, _start(network, params), TrainingData(X.T, Y.T), batch_size)


def digits(sizes: tuple[int, ...], batch_size: int, seed: int = 0) -> Task:
    """Scikit-learn's 1,797 handwritten digits of 8 by 8 pixels, in a fixed random order."""
    from sklearn.datasets import load_digits

    X, Y = load_digits(return_X_y=True)
    drawn = np.random.default_rng(0).permutation(len(X))
    X, Y = jnp.asarray(X[drawn] / 16, jnp.float32), jnp.asarray(Y[drawn], jnp.int32)
    network = bp.Network(sizes)
    params = bp.init(network, jax.random.key(seed), jnp.float32)
    data, held_out = TrainingData(X[:TRAINED_ON], Y[:TRAINED_ON]), TrainingData(X[TRAINED_ON:], Y[TRAINED_ON:])
    return Task(network, autodiff.Model(sizes), _start(network, params, seed), data, batch_size, held_out)


def _start(network: bp.Network, params: Any, seed: int = 0) -> bp.TrainState:
    return bp.train_state(network, ADAM, jax.random.key(seed + 1), params=params)
