"""The description of a network: sizes, activations and a cost. The arrays are the parameters, a tuple of layers."""

import dataclasses
import functools
import operator
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from manual_bp._activations import ACTIVATIONS, SOFTMAX, Activation, takes_Z
from manual_bp._costs import COSTS, CROSS_ENTROPIES, Cost


class Layer(NamedTuple):
    """The parameters of layer l, W of shape (n_l, n_{l-1}) and b of shape (n_l, 1), or their gradient.

    Example:
        >>> layer = bp.Layer(W=jnp.ones((3, 2)), b=jnp.zeros((3, 1)))
        >>> Z = layer.W @ jnp.ones((2, 5)) + layer.b
        >>> Z.shape
        (3, 5)
    """

    W: Float[Array, "n k"]
    b: Float[Array, "n 1"]


Params = tuple[Layer, ...]
# an array as a user has it
AnyArray = Array | np.ndarray
HIDDEN = [name for name, g in ACTIVATIONS.items() if g != SOFTMAX]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, init=False)
class Network:
    """A fully connected network and its cost: a hashable description, without arrays.

    Names are resolved on construction, so that equal networks compare equal however they were written.

    Args:
        sizes: (n_0, n_1, ..., n_L): the number of inputs, then the number of units in each layer.
        hidden: the activation of the hidden layers: a name, a `bp.Activation`, or a sequence with one for each layer.
            The names are identity, sigmoid, tanh, relu, leaky_relu, elu, softplus, silu and gelu.
        output: the activation of layer L: one of these, or softmax.
        cost: "squared_error", "absolute_error", "cross_entropy" (binary on a sigmoid output, categorical on a
            softmax output), or a `bp.Cost`.

    Attributes:
        activations: g[1] to g[L], in order.

    Raises:
        ValueError: fewer than two sizes, a size below 1, an unknown name, a wrong number of hidden activations, a
            softmax in a hidden layer or over one unit, or a cross-entropy on an output that is not a probability.
        TypeError: a size that is not an integer; an activation or a cost of another type.

    Example:
        >>> bp.Network((784, 256, 10))
        Network(sizes=(784, 256, 10), hidden=(relu,), output=softmax, cost=categorical_cross_entropy)
        >>> bp.Network((8, 32, 16, 1), ("relu", "tanh"), "identity", "squared_error").activations
        (relu, tanh, identity)
    """

    sizes: tuple[int, ...]
    hidden: tuple[Activation, ...]
    output: Activation
    cost: Cost

    def __init__(
        self,
        sizes: Sequence[int],
        hidden: str | Activation | Sequence[str | Activation] = "relu",
        output: str | Activation = "softmax",
        cost: str | Cost = "cross_entropy",
    ) -> None:
        sizes = _resolve_sizes(sizes)
        L = len(sizes) - 1
        if isinstance(hidden, str | Activation):
            hidden = (hidden,) * (L - 1)
        if not isinstance(hidden, Sequence):
            raise TypeError(f"hidden is {hidden!r}; expected the name of an activation, a bp.Activation, or a sequence")
        if len(hidden) != L - 1:
            raise ValueError(f"hidden has length {len(hidden)}; expected {L - 1}, one for each hidden layer of {sizes}")
        resolved = tuple(resolve_activation(g, f"hidden[{i}]", HIDDEN) for i, g in enumerate(hidden))
        output = resolve_activation(output, "output", ACTIVATIONS)
        if output == SOFTMAX and sizes[-1] == 1:
            raise ValueError(
                "output is softmax over one unit, which is 1 whatever the parameters; expected output='sigmoid' for "
                "two classes, or output='identity', cost='squared_error' for a number"
            )
        # the dataclass is frozen
        self.__dict__.update(sizes=sizes, hidden=resolved, output=output, cost=_resolve_cost(cost, output))

    @property
    def activations(self) -> tuple[Activation, ...]:
        return (*self.hidden, self.output)

    @functools.cached_property
    def kept(self) -> tuple[int, ...]:
        """The widths of the arrays that a pass holds for its way back: A[l], and Z[l] where g[l]' takes it."""
        layers = tuple(zip(self.sizes[1:], self.activations, strict=True))
        return tuple(n for n, _ in layers) + tuple(n for n, g in layers if takes_Z(g))


def _resolve_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    try:
        resolved = tuple(operator.index(n) for n in sizes)
        if any(isinstance(n, bool) for n in sizes):
            raise TypeError
    except TypeError:
        raise TypeError(f"sizes is {sizes!r}; expected a sequence of integers, such as (784, 256, 10)") from None
    if len(resolved) < 2 or min(resolved) < 1:
        raise ValueError(
            f"sizes is {resolved}; expected at least two sizes, each 1 or more: "
            "the inputs, then the units of each layer"
        )
    return resolved


def resolve_activation(activation: str | Activation, where: str, known: Iterable[str]) -> Activation:
    """The activation of this name, or as it is; `known` are the names for a message, without softmax to refuse it."""
    if not isinstance(activation, str | Activation):
        raise TypeError(f"{where} is {activation!r}; expected the name of an activation or a bp.Activation")
    if isinstance(activation, str) and activation not in ACTIVATIONS:
        raise ValueError(f"{where} is {activation!r}; expected one of {', '.join(known)}, or a bp.Activation")
    resolved = ACTIVATIONS[activation] if isinstance(activation, str) else activation
    if resolved == SOFTMAX and "softmax" not in known:
        raise ValueError(f"{where} is softmax; expected an element-wise activation: softmax stands at the output only")
    return resolved


def _resolve_cost(cost: str | Cost, output: Activation) -> Cost:
    if isinstance(cost, Cost):
        needed = cost.matched.output if cost.matched else output
        if output != needed:
            raise ValueError(f"cost {cost} has output {output}; expected {needed}, the activation it is collapsed with")
        return cost
    if not isinstance(cost, str):
        raise TypeError(f"cost is {cost!r}; expected the name of a cost or a bp.Cost")
    if cost == "cross_entropy":
        if output not in CROSS_ENTROPIES:
            hint = "'sigmoid' or 'softmax' by name: it is the cost of a probability"
            raise ValueError(f"cross_entropy has output {output}; expected {hint}")
        return CROSS_ENTROPIES[output]
    if cost not in COSTS:
        raise ValueError(f"cost is {cost!r}; expected one of {', '.join(COSTS)}, cross_entropy, or a bp.Cost")
    return COSTS[cost]
