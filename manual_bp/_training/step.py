"""One step of an optimizer along the hand-written gradient."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from manual_bp._network import Network, Params
from manual_bp._training.objective import Objective, objective, value_and_grad
from manual_bp._training.state import TrainState, check_state, is_optimizer


class Step(NamedTuple):
    """What is known of a step.

    Attributes:
        cost: before it.
        weight: the sum of the weights of the batch.
        gradient_norm: 0 where it was not asked for.
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
    """The function (state, X, Y, weights=None) -> (state, cost before the step), compiled.

    The state is donated: its memory becomes that of the state returned, so go on with that one. The examples are in
    columns, as for `bp.cost`; there is no check that the result is finite, as in `bp.train_epoch`. Made again from the
    same arguments, the same `optimizer` among them, it compiles nothing.

    Args:
        network: the description.
        optimizer: any of optax's.
        l2: adds l2/2 sum_l |W[l]|^2 to the cost, and l2 W[l] to dW[l].
        dropout: the probability with which a hidden unit is absent, or one for each hidden layer (Srivastava et al.
            2014); what is present is scaled up, so that prediction needs no change.
        compute_dtype: of the products, such as bfloat16 under float32 parameters; sums over examples, gradient and
            optimizer stay in the parameters' dtype. The parameters' unless given.

    Raises:
        TypeError, ValueError: an option out of its range, saying which; on a call, arguments as for `bp.cost`.
    """
    is_optimizer(optimizer)
    return _train_step(objective(network, l2, dropout, compute_dtype), optimizer)


@functools.lru_cache(maxsize=256)
def _train_step(
    objective: Objective, optimizer: optax.GradientTransformation
) -> Callable[..., tuple[TrainState, Array]]:
    @functools.partial(jax.jit, donate_argnums=0)
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
    """One step, traced."""
    check_state(state, objective.network, optimizer)
    key = jax.random.fold_in(state.key, state.step)
    c, grads = value_and_grad(objective, state.params, X, Y, weights, key, X_in_rows)
    norm = optax.tree.norm(grads) if gradient_norm else jnp.zeros_like(c)
    updates, optimizer_state = optimizer.update(grads, state.optimizer_state, state.params)
    params = cast(Params, optax.apply_updates(state.params, updates))
    weight = jnp.asarray(X.shape[1] if weights is None else jnp.sum(weights), c.dtype)
    return TrainState(params, optimizer_state, state.step + 1, state.key), Step(c, weight, norm)
