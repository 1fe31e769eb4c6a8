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
from manual_bp._jit import jit
from manual_bp._kernel.takes import Kernel
from manual_bp._machine.meshes import keeps_placement, padded_size
from manual_bp._network import Network
from manual_bp._training.dataset import Dataset, batch_of_rows, check_dataset
from manual_bp._training.objective import Objective, objective
from manual_bp._training.state import TrainState, is_optimizer
from manual_bp._training.step import Step, descend
from manual_bp._training.undo_non_finite import ScanSteps, StepFunction, scan_and_undo


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
    kernel: Kernel = "auto",
) -> Callable[[TrainState, Dataset], tuple[TrainState, Array]]:
    """Returns the compiled function (state, data) -> (state, costs), which takes a step for each minibatch.

    `costs`, of shape (steps,), holds each batch's cost before its step. A partial last batch is filled up with
    absent examples, of weight zero. Under `jax.vmap` over states, one program trains many networks.

    If a step's cost or new parameters are not finite, training stops there. The state from before that step is
    returned, and `costs` is NaN from that step on. The state passed in is not donated.

    Example:
        >>> network, optimizer = bp.Network((4, 8, 3)), optax.adam(0.01)
        >>> state = bp.train_state(network, optimizer, jax.random.key(0))
        >>> data = bp.Dataset(jnp.ones((10, 4)), jnp.zeros(10, int))
        >>> state, costs = bp.train_epoch(network, optimizer, batch_size=4)(state, data)
        >>> costs.shape, int(state.step)
        ((3,), 3)

    Args:
        network, optimizer, l2, dropout, compute_dtype: as in `bp.train_step`.
        batch_size: the number of examples in a batch, 1 or more. If there are fewer examples, all are one batch.
        shuffle: whether each epoch has a new order, drawn from the state's key, rather than that of `data`.
        mesh: a mesh with an axis "data", over which each batch is spread. A `state` or `data` that does not lie on it
            is copied to every device in each call; see `bp.place` and `docs/devices.md`.
        kernel: as in `bp.value_and_grad`; "fused" does not go with dropout.

    Raises:
        TypeError, ValueError: an option out of its range; on a call, data that do not fit the network.
    """
    is_optimizer(optimizer)
    batch_size = numbers.count("batch_size", batch_size)
    check_data_mesh(mesh)
    goal = objective(network, l2, dropout, compute_dtype, kernel, mesh)
    return keeps_placement(epoch_of(goal, optimizer, batch_size, bool(shuffle), mesh, False, _scan_costs), mesh)


def _scan_costs(step: StepFunction, state: TrainState, batches: Any) -> tuple[TrainState, Array]:
    state, steps = scan_and_undo(step, state, batches)
    return state, steps.cost


@functools.lru_cache(maxsize=256)
def epoch_of(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    shuffle: bool,
    mesh: Mesh | None,
    gradient_norm: bool,
    scan: ScanSteps,
) -> Callable[..., tuple[TrainState, Any]]:
    """The compiled epoch: (state, data, l2=None) -> the result of `scan`. `l2` replaces that of the objective."""

    @jit
    def epoch(state: TrainState, data: Dataset, l2: Array | None = None) -> tuple[TrainState, Any]:
        m, goal = check_dataset(data), objective.with_l2(l2)
        size = min(batch_size, m)

        def step(state: TrainState, batch: tuple[Array, Array]) -> tuple[TrainState, Step]:
            return descend(goal, optimizer, state, *batch_of_rows(data, *batch, mesh), gradient_norm, X_in_rows=True)

        rows, present = epoch_order(state, m, size, shuffle)
        if extra := padded_size(size, mesh, objective.dropout) - size:
            rows, present = (jnp.pad(x, ((0, 0), (0, extra))) for x in (rows, present))
        return scan(step, state, (rows, present))

    return epoch


def epoch_order(
    state: TrainState, m: int, size: int, shuffle: bool
) -> tuple[Integer[Array, "steps size"], Bool[Array, "steps size"]]:
    """The rows of each batch of the epoch that begins with `state`, and which of them are present."""
    # this key differs from those of the steps, which dropout uses
    key = jax.random.fold_in(jax.random.fold_in(state.key, 2**32 - 1), state.step)
    # jax.random.permutation sorts twice, so that examples with equal random numbers have no preferred order; that takes
    # a tenth of a narrow network's epoch. Here such a pair (one in two epochs of 60,000 examples) keeps its order
    rows = jnp.argsort(jax.random.bits(key, (m,), jnp.uint32)) if shuffle else jnp.arange(m)
    return rows_in_batches(rows, size)


def rows_in_batches(rows: Array, size: int) -> tuple[Integer[Array, "steps size"], Bool[Array, "steps size"]]:
    """The rows in batches, the last one filled up with copies of row 0, and which of them are present."""
    m = len(rows)
    steps = -(-m // size)
    rows = jnp.pad(rows, (0, steps * size - m)).reshape(steps, size)
    return rows, (jnp.arange(steps * size) < m).reshape(steps, size)


@functools.lru_cache(maxsize=256)
def steps_of_chunk(
    objective: Objective, optimizer: optax.GradientTransformation, scan: ScanSteps
) -> Callable[..., tuple[TrainState, Any]]:
    """The compiled steps of given batches, examples first, stacked along a leading axis of steps."""

    @jit
    def chunk(state: TrainState, X: Array, Y: Array, weights: Array, l2: Array | None = None) -> tuple[TrainState, Any]:
        goal = objective.with_l2(l2)

        def step(state: TrainState, batch: tuple[Array, Array, Array]) -> tuple[TrainState, Step]:
            X, Y, w = batch
            return descend(goal, optimizer, state, X.T, Y.T, w, True, X_in_rows=True)

        return scan(step, state, (X, Y, weights))

    return chunk
