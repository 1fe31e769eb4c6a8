"""One epoch, compiled as a whole: a scan over minibatches of all examples in random order."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Integer

from manual_bp._checks import numbers
from manual_bp._checks.arguments import check_data_mesh
from manual_bp._machine.meshes import keeps_placement, padded_size
from manual_bp._network import Network
from manual_bp._training.dataset import Dataset, check_dataset, columns
from manual_bp._training.finite import Take, finite_steps
from manual_bp._training.objective import Objective, objective
from manual_bp._training.state import TrainState, is_optimizer
from manual_bp._training.step import Step, descend


def train_epoch(
    network: Network,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    *,
    shuffle: bool = True,
    l2: float = 0.0,
    dropout: float | Sequence[float] = 0.0,
    compute_dtype: jax.typing.DTypeLike | None = None,
    mesh: Mesh | None = None,
) -> Callable[[TrainState, Dataset], tuple[TrainState, Array]]:
    """The function (state, data) -> (state, costs), compiled: a step for each minibatch, all examples in random order.

    costs, of shape (steps,), holds the cost of each batch before its step. The last batch may be partial: it is filled
    up with examples of weight zero, which are absent.

    If a step is not finite (its cost, or the parameters it leads to) the state before it is returned: `state.step` is
    then its number, counted from 0, and its cost and those after it are NaN. The state given is kept for that, so it
    is not donated. Under `jax.vmap` over states, one program trains many networks: see the README.

    Args:
        network, optimizer, l2, dropout, compute_dtype: those of `bp.train_step`.
        batch_size: examples in a batch, 1 or more; all of them if they are fewer.
        shuffle: a new order for each epoch, from the state's key; otherwise the order of `data`.
        mesh: one with an axis "data", over which each batch is spread; a `state` and `data` that do not lie on it yet
            are copied to every device in each call, see `bp.place` and `docs/devices.md`.

    Raises:
        TypeError, ValueError: an option out of its range, saying which; on a call, data that do not fit the network.
    """
    is_optimizer(optimizer)
    batch_size = numbers.count("batch_size", batch_size)
    goal = objective(network, l2, dropout, compute_dtype)
    check_data_mesh(mesh)
    return keeps_placement(_with_costs(epoch_of(goal, optimizer, batch_size, bool(shuffle), mesh, False)), mesh)


@functools.lru_cache(maxsize=256)
def _with_costs(run: Callable[[TrainState, Dataset], tuple[TrainState, Step]]) -> Callable[..., Any]:
    @jax.jit
    def train_epoch(state: TrainState, data: Dataset) -> tuple[TrainState, Array]:
        state, steps = run(state, data)
        return state, steps.cost

    return train_epoch


@functools.lru_cache(maxsize=256)
def epoch_of(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    shuffle: bool,
    mesh: Mesh | None,
    gradient_norm: bool,
    take: Take = finite_steps,
) -> Callable[..., tuple[TrainState, Any]]:
    """The epoch, compiled: (state, data, l2=None) -> what `take` makes of its steps.

    `l2` stands in for that of the objective, where it is given.
    """

    @jax.jit
    def epoch(state: TrainState, data: Dataset, l2: Array | None = None) -> tuple[TrainState, Any]:
        m = check_dataset(data)
        goal = objective if l2 is None else objective.with_l2(l2)
        size = min(batch_size, m)

        def step(state: TrainState, batch: tuple[Array, Array]) -> tuple[TrainState, Step]:
            return descend(goal, optimizer, state, *columns(data, *batch, mesh), gradient_norm, X_in_rows=True)

        rows, present = order(state, m, size, shuffle)
        if extra := padded_size(size, mesh, objective.dropout) - size:
            rows, present = (jnp.pad(x, ((0, 0), (0, extra))) for x in (rows, present))
        return take(step, state, (rows, present))

    return epoch


def order(
    state: TrainState, m: int, size: int, shuffle: bool
) -> tuple[Integer[Array, "steps size"], Bool[Array, "steps size"]]:
    """The examples of each batch of the epoch that begins with `state`, and which of them are there."""
    steps = -(-m // size)
    # a key apart from those of the steps, which are for dropout
    key = jax.random.fold_in(jax.random.fold_in(state.key, 2**32 - 1), state.step)
    # jax.random.permutation sorts twice, which takes a tenth of a narrow network's epoch: so that examples whose random
    # numbers are equal have no order of their own. Here such a pair, among 60,000 one in two epochs, keeps its order
    rows = jnp.argsort(jax.random.bits(key, (m,), jnp.uint32)) if shuffle else jnp.arange(m)
    rows = jnp.pad(rows, (0, steps * size - m)).reshape(steps, size)
    return rows, (jnp.arange(steps * size) < m).reshape(steps, size)


@functools.lru_cache(maxsize=256)
def chunk_of(
    objective: Objective, optimizer: optax.GradientTransformation, take: Take
) -> Callable[..., tuple[TrainState, Any]]:
    """Some steps, compiled: of batches that are given, examples first, with an axis of steps in front."""

    @jax.jit
    def chunk(state: TrainState, X: Array, Y: Array, weights: Array, l2: Array | None = None) -> tuple[TrainState, Any]:
        goal = objective if l2 is None else objective.with_l2(l2)

        def step(state: TrainState, batch: tuple[Array, Array, Array]) -> tuple[TrainState, Step]:
            X, Y, weights = batch
            return descend(goal, optimizer, state, X.T, Y.T, weights, True, X_in_rows=True)

        return take(step, state, (X, Y, weights))

    return chunk
