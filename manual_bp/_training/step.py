"""One step of an optimizer along the hand-written gradient."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from manual_bp._jit import jit
from manual_bp._network import Network, Params
from manual_bp._training.objective import Objective, objective, value_and_grad
from manual_bp._training.state import TrainState, check_state, is_optimizer


class Step(NamedTuple):
    """The figures of a step.

    Attributes:
        cost: the cost before the step.
        weight: the sum of the weights of the batch.
        gradient_norm: the norm of the gradient; 0 if it was not asked for.
    """

    cost: Float[Array, ""]
    weight: Float[Array, ""]
    gradient_norm: Float[Array, ""]


def train_step(
    network: Network,
    optimizer: optax.GradientTransformation,
    *,
    l2: float = 0.0,
    dropout: float | Sequence[float] = 0.0,
    compute_dtype: jax.typing.DTypeLike | None = None,
) -> Callable[..., tuple[TrainState, Array]]:
    """Returns the compiled function (state, X, Y, weights=None) -> (state, cost before the step).

    The state is donated: its memory is reused for the state returned, so continue with that one. The examples are in
    columns, as for `bp.cost`. Unlike `bp.train_epoch`, it does not check that the result is finite. Calling
    `bp.train_step` again with equal arguments, including the same `optimizer` object, compiles nothing.

    Example:
        >>> network, optimizer = bp.Network((4, 8, 3)), optax.adam(0.01)
        >>> state = bp.train_state(network, optimizer, jax.random.key(0))
        >>> state, cost = bp.train_step(network, optimizer)(state, X=jnp.ones((4, 5)), Y=jnp.zeros(5, int))
        >>> cost.shape, int(state.step)
        ((), 1)

    Args:
        network: the description.
        optimizer: an optax optimizer.
        l2: the factor of the penalty l2/2 sum_l |W[l]|^2 in the cost, which adds l2 W[l] to dW[l].
        dropout: the probability with which a hidden unit is absent, or one for each hidden layer (Srivastava et al.
            2014). Units that are present are scaled up, so that prediction needs no change.
        compute_dtype: the dtype of the products, such as bfloat16 with float32 parameters; by default that of the
            parameters. Gradient and optimizer stay in the parameters' dtype.

    Raises:
        TypeError, ValueError: an option out of its range; on a call, an argument that `bp.cost` refuses.
    """
    is_optimizer(optimizer)
    return _train_step(objective(network, l2, dropout, compute_dtype), optimizer)


@functools.lru_cache(maxsize=256)
def _train_step(
    objective: Objective, optimizer: optax.GradientTransformation
) -> Callable[..., tuple[TrainState, Array]]:
    @jit(donate_argnums=0)
    def train_step(state: TrainState, X: Array, Y: Array, weights: Array | None = None) -> tuple[TrainState, Array]:
        state, step = descend(objective, optimizer, state, X, Y, weights)
        return state, step.cost

    return train_step


def descend(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    X: Array,
    Y: Array,
    weights: Array | None,
    gradient_norm: bool = False,
    X_in_rows: bool = False,
) -> tuple[TrainState, Step]:
    """Takes one step, inside of a compiled function."""
    check_state(state, objective.network, optimizer)
    key = jax.random.fold_in(state.key, state.step)
    c, grads = value_and_grad(objective, state.params, X, Y, weights, key, X_in_rows)
    norm = optax.tree.norm(grads) if gradient_norm else jnp.zeros_like(c)
    updates, optimizer_state = optimizer.update(grads, state.optimizer_state, state.params)
    params = cast(Params, optax.apply_updates(state.params, updates))
    weight = jnp.asarray(X.shape[1] if weights is None else jnp.sum(weights), c.dtype)
    return TrainState(params, optimizer_state, state.step + 1, state.key), Step(c, weight, norm)
