"""What is trained: a network on examples stored one after another, from one state and in one order for all programs."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import manual_bp as bp
from benchmarks.problem import draw
from manual_bp._training.epoch import epoch_order as order
from reference import autodiff

LEARNING_RATE = 1e-3
ADAM = optax.adam(LEARNING_RATE)  # one object: bp.train_step compiles once for it
TRAINED_ON = 1440  # digits, a whole number of batches of 32; the other 357 are held out


class Examples(NamedTuple):
    """Examples in rows, and the index of each one's class."""

    X: jax.Array
    Y: jax.Array


class Task(NamedTuple):
    network: bp.Network
    model: autodiff.Model
    state: bp.TrainState  # before the first step
    data: Examples
    batch_size: int
    held_out: Examples | None = None

    @property
    def steps(self) -> int:
        """In an epoch, all of whole batches."""
        return len(self.data.X) // self.batch_size

    def rows(self, epoch: int) -> np.ndarray:
        """The examples of each batch of an epoch, those that `bp.train_epoch` draws from its state: (steps, m)."""
        state = self.state._replace(step=self.state.step + epoch * self.steps)
        return np.asarray(order(state, len(self.data.X), self.batch_size, True)[0])


def in_float64(task: Task) -> Task:
    """The same numbers as float64, under `jax.enable_x64`."""

    def wide(x: Any) -> Any:
        return x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return task._replace(state=jax.tree.map(wide, task.state), data=Examples(*map(wide, task.data)))


def steps_of_a_call(batch_size: int) -> int:
    """So many that a call takes some 5 to 200 ms on two cores."""
    return max(4, min(64, 4096 // batch_size))


def synthetic(sizes: tuple[int, ...], batch_size: int) -> Task:
    """The examples of the other suites, as many as a call takes steps."""
    network, model, params, X, Y = draw(sizes, batch_size * steps_of_a_call(batch_size), "float32")
    return Task(network, model, _start(network, params), Examples(X.T, Y), batch_size)


def digits(sizes: tuple[int, ...], batch_size: int, seed: int = 0) -> Task:
    """Scikit-learn's 1,797 handwritten digits of 8 by 8 pixels, in an order drawn once."""
    from sklearn.datasets import load_digits

    X, Y = load_digits(return_X_y=True)
    drawn = np.random.default_rng(0).permutation(len(X))
    X, Y = jnp.asarray(X[drawn] / 16, jnp.float32), jnp.asarray(Y[drawn], jnp.int32)
    network = bp.Network(sizes)
    params = bp.init(network, jax.random.key(seed), jnp.float32)
    data, held_out = Examples(X[:TRAINED_ON], Y[:TRAINED_ON]), Examples(X[TRAINED_ON:], Y[TRAINED_ON:])
    return Task(network, autodiff.Model(sizes), _start(network, params, seed), data, batch_size, held_out)


def _start(network: bp.Network, params: Any, seed: int = 0) -> bp.TrainState:
    return bp.train_state(network, ADAM, jax.random.key(seed + 1), params=params)
