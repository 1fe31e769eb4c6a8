"""The objective that a step lowers: the cost, with the penalty, dropout and compute dtype of training."""

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array

from manual_bp._checks import arguments, numbers
from manual_bp._gradient import cost_and_gradient
from manual_bp._kernel.takes import TAKEN, Kernel, check_option
from manual_bp._machine import layout
from manual_bp._network import Layer, Network, Params
from manual_bp._training.dropout import with_dropout


@dataclasses.dataclass(frozen=True)
class Objective:
    """C + l2/2 sum_l |W[l]|^2, under dropout, in the products' dtype.

    Attributes:
        network: the description.
        l2: the factor of the penalty, which leaves out biases; non-negative.
        dropout: the probability that a unit is absent, for each hidden layer.
        compute_dtype: the dtype of products, activations and their derivatives. Sums over examples are in float32 at
            least, gradient and parameters in the parameters' dtype. None stands for the latter.
        kernel: as in `bp.value_and_grad`.
    """

    network: Network
    l2: float | Array
    dropout: tuple[float, ...]
    compute_dtype: str | None
    kernel: Kernel

    def with_l2(self, l2: float | Array | None) -> "Objective":
        """The objective with another penalty, if one is given. A traced penalty compiles nothing anew."""
        return self if l2 is None else dataclasses.replace(self, l2=l2)


def objective(
    network: Network,
    l2: float,
    dropout: float | Sequence[float],
    compute_dtype: jax.typing.DTypeLike | None,
    kernel: Kernel = "auto",
    mesh: Mesh | None = None,
) -> Objective:
    """The objective for a user's options, checked."""
    arguments.check_network(network)
    L = len(network.hidden)
    one = isinstance(dropout, str) or not isinstance(dropout, Sequence)
    rates: tuple[Any, ...] = (dropout,) * L if one else tuple(cast(Sequence, dropout))
    if len(rates) != L:
        raise ValueError(f"dropout has length {len(rates)}; expected a probability, or {L}, one for each hidden layer")
    for rate in rates:
        if numbers.known("dropout", numbers.non_negative("dropout", rate)) >= 1:
            raise ValueError(f"dropout is {rate}; expected a probability, at least 0 and below 1")
    check_option(kernel, mesh)
    if kernel == "fused" and any(rates):
        raise ValueError(f"kernel='fused' is given together with dropout; expected {TAKEN}")
    name = None if compute_dtype is None else numbers.dtype(compute_dtype, "compute_dtype")
    l2 = numbers.known("l2", numbers.non_negative("l2", l2))
    return Objective(network, l2, tuple(map(float, rates)), name, kernel)


def value_and_grad(
    objective: Objective, params: Params, X: Array, Y: Array, weights: Array | None, key: Array, X_in_rows: bool = False
) -> tuple[Array, Params]:
    """The objective and its gradient: dW[l] + l2 W[l], db[l]."""
    dtype = objective.compute_dtype
    low = params if dtype is None else jax.tree.map(lambda p: p.astype(dtype), params)
    network, block_size = objective.network, "auto"
    args = arguments.checked(network, low, X, Y, weights)
    if any(objective.dropout):
        # the units that are absent are drawn for all examples at once
        in_rows = layout.of_pass(network.sizes, args[1], X_in_rows).in_rows
        network = with_dropout(network, objective.dropout, key, X.shape[1], low[0].W.dtype, in_rows)
        block_size = None
    c, dparams = cost_and_gradient(network, *args, block_size, params, X_in_rows, objective.kernel)
    c = c.astype(params[0].W.dtype)
    if isinstance(objective.l2, Array) or objective.l2:
        c += objective.l2 / 2 * sum(jnp.sum(jnp.square(W)) for W, _ in params)
        dparams = tuple(Layer(dW + objective.l2 * W, db) for (dW, db), (W, _) in zip(dparams, params, strict=True))
    return c, dparams
