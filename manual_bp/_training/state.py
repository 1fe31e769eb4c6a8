"""What training carries from step to step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Integer

from manual_bp._checks import arguments, numbers
from manual_bp._init import init
from manual_bp._network import Network, Params


class TrainState(NamedTuple):
    """The state of training, a pytree.

    Attributes:
        params: a tuple of layers.
        optimizer_state: what the optimizer keeps, such as Adam's moments.
        step: the number of steps taken.
        key: the random key of the whole training; the order of the examples and dropout follow from it and `step`.
    """

    params: Params
    optimizer_state: optax.OptState
    step: Integer[Array, ""]
    key: Array


def train_state(
    network: Network,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    params: Params | None = None,
    dtype: jax.typing.DTypeLike = float,
) -> TrainState:
    """The state before the first step.

    Args:
        network: the description.
        optimizer: any of optax's.
        key: of `jax.random.key`, for the initial weights, the order of the examples and dropout.
        params: to start from, copied; `bp.init` draws them unless given.
        dtype: of parameters that are drawn, as in `bp.init`.

    Raises:
        TypeError, ValueError: an optimizer without init and update, no key, params that do not fit the network, or
            another dtype; float64 without jax_enable_x64, which JAX would narrow, among them.
    """
    is_optimizer(optimizer)
    numbers.key(key)
    arguments.check_network(network)
    return _train_state(network, optimizer, key, params, numbers.dtype(dtype))


@jax.jit(static_argnums=(0, 1, 4))
def _train_state(network: Network, optimizer: Any, key: Array, params: Params | None, dtype: str) -> TrainState:
    init_key, key = jax.random.split(key)
    if params is not None:
        arguments.parameters(network, params)
    # a step donates its state: what the caller holds must not go with it
    first = init(network, init_key, dtype) if params is None else jax.tree.map(jnp.copy, params)
    return TrainState(first, optimizer.init(first), jnp.zeros((), jnp.int32), key)


def check_state(state: Any, network: Network, optimizer: optax.GradientTransformation) -> None:
    """Refuses a state that is not one of this network and optimizer, as far as its structure shows that."""
    if not isinstance(state, TrainState):
        raise TypeError(f"state is {arguments.a_kind(state)}; expected a bp.TrainState, as bp.train_state makes one")
    arguments.parameters(network, state.params)
    shapes = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, p.dtype), state.params)
    if jax.tree.structure(state.optimizer_state) != jax.tree.structure(jax.eval_shape(optimizer.init, shapes)):
        raise ValueError(
            "state.optimizer_state is of another optimizer; expected the one that the state was made with (of bp.fit's "
            "options max_gradient_norm belongs to it, and whether learning_rate is a number or a schedule), or another "
            "state with these parameters: bp.train_state(network, optimizer, key, params=state.params)"
        )


def is_optimizer(optimizer: Any) -> None:
    """Refuses what has not the two functions of an optax optimizer."""
    if not (callable(getattr(optimizer, "init", None)) and callable(getattr(optimizer, "update", None))):
        raise TypeError(
            f"optimizer is {arguments.a_kind(optimizer)}; expected one of optax's, such as optax.adam(0.001)"
        )
