"""What a step descends: the cost, with what training adds to it."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array

from manual_bp._checks import arguments, numbers
from manual_bp._gradient import cost_and_gradient
from manual_bp._network import Layer, Network, Params
from manual_bp._training.dropout import with_dropout


@dataclasses.dataclass(frozen=True)
class Objective:
    """C + l2/2 sum_l |W[l]|^2, under dropout, in the products' dtype.

    Attributes:
        network: the description.
        l2: the factor of the penalty, 0 or above. Biases are free of it.
        dropout: for each hidden layer the probability that a unit is absent.
        compute_dtype: of products, activations and their derivatives; sums over examples are in float32 at least, and
            gradient and parameters keep the parameters' dtype. None is that dtype.
    """

    network: Network
    l2: float
    dropout: tuple[float, ...]
    compute_dtype: str | None

    def with_l2(self, l2: float | Array) -> "Objective":
        """The objective with another penalty, which JAX may trace: a new value then compiles nothing."""
        return dataclasses.replace(self, l2=l2)  # type: ignore[arg-type]


def objective(
    network: Network, l2: float, dropout: float | Sequence[float], compute_dtype: jax.typing.DTypeLike | None
) -> Objective:
    """The objective of options as a user gives them."""
    arguments.check_network(network)
    L = len(network.hidden)
    rates = tuple(dropout) if isinstance(dropout, Sequence) else (dropout,) * L
    if len(rates) != L:
        raise ValueError(f"dropout has {len(rates)} rates; expected one, or {L}, one for each hidden layer")
    for rate in rates:
        if not 0 <= numbers.known("dropout", rate) < 1:
            raise ValueError(f"dropout is {rate}; expected a probability from 0 on and below 1")
    name = None if compute_dtype is None else jnp.dtype(compute_dtype).name
    if name not in (None, *arguments.DTYPES):
        raise TypeError(f"compute_dtype is {name}; expected {' or '.join(arguments.DTYPES)}")
    l2 = numbers.known("l2", numbers.non_negative("l2", l2))
    return Objective(network, l2, tuple(map(float, rates)), name)


def value_and_grad(
    objective: Objective,
    params: Params,
    X: Array,
    Y: Array,
    weights: Array | None,
    key: Array,
    X_in_rows: bool = False,
) -> tuple[Array, Params]:
    """The objective and its gradient: dW[l] + l2 W[l], db[l]."""
    dtype = objective.compute_dtype
    low = params if dtype is None else jax.tree.map(lambda p: p.astype(dtype), params)
    network = objective.network
    args = arguments.checked(network, low, X, Y, weights)
    if any(objective.dropout):
        network = with_dropout(network, objective.dropout, key, X.shape[1], low[0].W.dtype)
    # the units that dropout takes out are drawn for all examples at once
    block_size = None if any(objective.dropout) else "auto"
    c, dparams = cost_and_gradient(network, *args, block_size, params, X_in_rows)
    c = c.astype(params[0].W.dtype)
    if isinstance(objective.l2, Array) or objective.l2:
        c += objective.l2 / 2 * sum(jnp.sum(jnp.square(W)) for W, _ in params)
        dparams = tuple(Layer(dW + objective.l2 * W, db) for (dW, db), (W, _) in zip(dparams, params, strict=True))
    return c, dparams
