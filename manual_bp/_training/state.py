"""The state that training carries from step to step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Integer

from manual_bp._checks import arguments, numbers
from manual_bp._init import init
from manual_bp._network import Network, Params
from manual_bp._show import layer_lines, values_of


class TrainState(NamedTuple):
    """The state of training, a pytree.

    Example:
        >>> network, optimizer = bp.Network((4, 3)), optax.sgd(0.1)
        >>> params = bp.init(network, jax.random.key(0))
        >>> state = bp.TrainState(params, optimizer.init(params), step=jnp.array(0), key=jax.random.key(1))
        >>> state, cost = bp.train_step(network, optimizer)(state, jnp.ones((4, 5)), jnp.zeros(5, int))
        >>> int(state.step)
        1

    Attributes:
        params: a tuple of layers.
        optimizer_state: the optimizer's own state, such as Adam's moments.
        step: the number of steps taken.
        key: the random key of the whole training. The order of the examples and dropout follow from it and `step`.
    """

    params: Params
    optimizer_state: optax.OptState
    step: Integer[Array, ""]
    key: Array

    def __repr__(self) -> str:
        step, kept = values_of(self.step), len(jax.tree.leaves(self.optimizer_state))
        at = "" if step is None else f" at step {step}"
        head = f"TrainState{at}, optimizer state of {kept} array{'s' * (kept != 1)}"
        return "\n  ".join([head, *layer_lines(self.params)])


def train_state(
    network: Network,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    params: Params | None = None,
    dtype: jax.typing.DTypeLike = float,
) -> TrainState:
    """Returns the state before the first step.

    Example:
        >>> state = bp.train_state(bp.Network((4, 8, 3)), optax.adam(0.01), jax.random.key(0))
        >>> [layer.W.shape for layer in state.params], int(state.step)
        ([(8, 4), (3, 8)], 0)

    Args:
        network: the description.
        optimizer: an optax optimizer.
        key: a key such as `jax.random.key(0)`, for the initial weights, the order of the examples and dropout.
        params: parameters to start from, which are copied; drawn as in `bp.init` unless given.
        dtype: the dtype of parameters that are drawn, as in `bp.init`.

    Raises:
        TypeError, ValueError: an argument of another kind, params that do not fit the network, or another dtype. This
            includes float64 without jax_enable_x64, which JAX would narrow to float32.
    """
    is_optimizer(optimizer)
    numbers.key(key)
    arguments.check_network(network)
    if params is not None:
        arguments.parameters(network, params)
    return _train_state(network, optimizer, key, params, numbers.dtype(dtype))


@jax.jit(static_argnums=(0, 1, 4))
def _train_state(network: Network, optimizer: Any, key: Array, params: Params | None, dtype: str) -> TrainState:
    init_key, key = jax.random.split(key)
    # a step donates its state, and the caller keeps the parameters
    first = init(network, init_key, dtype) if params is None else jax.tree.map(jnp.copy, params)
    return TrainState(first, optimizer.init(first), jnp.zeros((), jnp.int32), key)


def check_state(state: Any, network: Network, optimizer: optax.GradientTransformation) -> None:
    """Refuses a state of another network or optimizer, as far as its structure shows that."""
    if not isinstance(state, TrainState):
        raise TypeError(f"state is {arguments.a_kind(state)}; expected a bp.TrainState, made by bp.train_state")
    arguments.parameters(network, state.params)
    shapes = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, p.dtype), state.params)
    if jax.tree.structure(state.optimizer_state) != jax.tree.structure(jax.eval_shape(optimizer.init, shapes)):
        raise ValueError(
            "state.optimizer_state is of another optimizer; expected the one that the state was made with (for bp.fit: "
            "with the same max_gradient_norm, and a number or a schedule as learning_rate), or a new state, made by "
            "bp.train_state(network, optimizer, key, params=state.params)"
        )


def is_optimizer(optimizer: Any, name: str = "optimizer") -> None:
    """Refuses an object without the two functions of an optax optimizer."""
    if not (callable(getattr(optimizer, "init", None)) and callable(getattr(optimizer, "update", None))):
        raise TypeError(
            f"{name} is {arguments.a_kind(optimizer)}; expected an optax optimizer, such as optax.adam(0.001)"
        )
