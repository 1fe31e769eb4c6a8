"""Random networks with a cost and data, on which the gradient checker is tried.

Columns are examples. The cost is written in JAX; g and g' are also given in NumPy, for the hand-written passes of
planted_passes. No code is shared with the library.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from reference.checker_proof.published_equations import sigmoid


class Subject(NamedTuple):
    """A network with a cost, and data to check its gradient on.

    Args:
        name: a description in one line, such as "11-7-5-3 tanh,relu -> sigmoid, squared_error, m=13".
        sizes: n_0, ..., n_L.
        activations: the activation of each layer, that of the output last.
        cost_name: a key of `COSTS_OF_Z` or of `COSTS_OF_A`.
        m: the number of examples.
        cost: the cost, called as cost(params, X, Y, tap), which taps every Z[l] and every A[l] that it uses.
        params: {"W1": (n_1, n_0), "b1": (n_1, 1), ...}.
        X: the inputs, (n_0, m).
        Y: the targets, (n_L, m).
        penalty: lambda in the term lambda/2 * sum of W^2 over all layers, which is not divided by m.
    """

    name: str
    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    cost_name: str
    m: int
    cost: Callable[..., Any]
    params: dict[str, NDArray]
    X: NDArray
    Y: NDArray
    penalty: float

    @property
    def collapsed(self) -> bool:
        """Return whether the cost is computed from Z[L]: its derivative is then A - Y, and no A[L] is tapped."""
        return self.cost_name in COSTS_OF_Z


def random_subject(seed: int) -> Subject:
    """Draw a subject that depends on the seed only.

    Sizes and m are pairwise distinct, at least 3, and none is a product or a ratio of others and 2, so that a factor
    has one name. One subject in three has equal sizes instead, for the mistakes that only equal shapes allow.
    """
    rng = np.random.default_rng(seed)
    sizes, m = _draw_sizes(rng)
    output, cost_name = _PAIRS[rng.integers(len(_PAIRS))]
    hidden = tuple(str(g) for g in rng.choice(list(G_PRIME), len(sizes) - 2))
    penalty = float(rng.choice([0.0, 0.0, 0.0, 0.03, 0.3]))
    params = {}
    for l, (k, n) in enumerate(zip(sizes[:-1], sizes[1:], strict=True), 1):
        params[f"W{l}"] = rng.normal(size=(n, k)) * math.sqrt(2 / (k + n)) * rng.uniform(0.8, 1.2)
        params[f"b{l}"] = rng.normal(size=(n, 1)) / 4
    X, Y = rng.normal(size=(sizes[0], m)), _draw_targets(rng, output, cost_name, sizes[-1], m)
    layers = " ".join(filter(None, ("-".join(map(str, sizes)), ",".join(hidden))))
    name = f"{layers} -> {output}, {cost_name}, m={m}" + (f", penalty={penalty}" if penalty else "")
    activations = (*hidden, output)
    cost = partial(_cost, activations=activations, cost_name=cost_name, penalty=penalty)
    return Subject(name, sizes, activations, cost_name, m, cost, params, X, Y, penalty)


def _draw_sizes(rng: np.random.Generator) -> tuple[tuple[int, ...], int]:
    """Draw n_0, ..., n_L, and m."""
    L = int(rng.choice([1, 2, 3, 4], p=[0.1, 0.35, 0.35, 0.2]))
    while True:
        # below the widths, among them or above
        m = int(rng.integers(3, 13) if rng.random() < 0.6 else rng.integers(14, 30))
        sizes = [int(n) for n in rng.choice(np.arange(3, 14), L + 1, replace=False)]
        if m not in sizes and not _ambiguous([*sizes, m]):
            break
    match rng.choice(["distinct", "square W", "equal Ws", "m a width"], p=[0.67, 0.11, 0.11, 0.11]):
        case "square W":
            l = rng.integers(1, L + 1)
            sizes[l] = sizes[l - 1]
        case "equal Ws":
            sizes = [sizes[0], sizes[1], sizes[0], sizes[1]] if rng.random() < 0.5 else [sizes[0], *[sizes[1]] * 3]
        case "m a width":
            m = sizes[rng.integers(L + 1)]
    return tuple(sizes), m


def _ambiguous(numbers: list[int]) -> bool:
    """Return whether a number is a product of others and 2, so that a factor would have two names."""
    return any(a * b in numbers for a in (2, *numbers) for b in (2, *numbers))


def _draw_targets(rng: np.random.Generator, output: str, cost_name: str, n: int, m: int) -> NDArray:
    """Draw targets of shape (n, m) in the range of the output, 0 or 1 for a cross-entropy."""
    if output == "softmax":
        return np.eye(n)[:, rng.integers(n, size=m)]
    if cost_name.startswith("binary"):
        return rng.integers(2, size=(n, m)).astype(float)
    if output == "identity":
        return rng.normal(size=(n, m))
    return rng.uniform(-1 if output == "tanh" else 0, 1, (n, m))


def _cost(
    params: dict, X: Any, Y: Any, tap: Callable, *, activations: tuple[str, ...], cost_name: str, penalty: float
) -> Any:
    """Sum the losses over the outputs, average them over the examples, and add the penalty."""
    L, Z, A = len(activations), {}, {0: X}
    for l, g in enumerate(activations, 1):
        Z[l] = tap(f"Z{l}", params[f"W{l}"] @ A[l - 1] + params[f"b{l}"])
        if l < L or cost_name in COSTS_OF_A:
            A[l] = tap(f"A{l}", getattr(jax.nn, g)(Z[l]))
    losses = COSTS_OF_A[cost_name](A[L], Y) if cost_name in COSTS_OF_A else COSTS_OF_Z[cost_name](Z[L], Y)
    C = jnp.mean(jnp.sum(losses, axis=0))
    if penalty:
        C = C + penalty / 2 * sum(jnp.sum(params[f"W{l}"] ** 2) for l in range(1, L + 1))
    return C


COSTS_OF_Z: dict[str, Callable] = {
    "binary_cross_entropy_of_Z": lambda Z, Y: Y * jax.nn.softplus(-Z) + (1 - Y) * jax.nn.softplus(Z),
    "cross_entropy_of_Z": lambda Z, Y: -Y * jax.nn.log_softmax(Z, axis=0),
}
COSTS_OF_A: dict[str, Callable] = {
    "binary_cross_entropy_of_A": lambda A, Y: -(Y * jnp.log(A) + (1 - Y) * jnp.log(1 - A)),
    "squared_error": lambda A, Y: (A - Y) ** 2,
    "absolute_error": lambda A, Y: jnp.abs(A - Y),
}
_PAIRS = (
    ("sigmoid", "binary_cross_entropy_of_Z"),
    ("sigmoid", "binary_cross_entropy_of_A"),
    ("softmax", "cross_entropy_of_Z"),
    ("identity", "squared_error"),
    ("sigmoid", "squared_error"),
    ("tanh", "squared_error"),
    ("identity", "absolute_error"),
)


def _softmax(Z: NDArray) -> NDArray:
    E = np.exp(Z - np.max(Z, axis=0))
    return E / np.sum(E, axis=0)


def _gelu_t(Z: NDArray) -> NDArray:
    return np.tanh(math.sqrt(2 / math.pi) * (Z + 0.044715 * Z**3))


def _gelu_prime(Z: NDArray) -> NDArray:
    t = _gelu_t(Z)
    return (1 + t) / 2 + Z / 2 * (1 - t**2) * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * Z**2)


G: dict[str, Callable[[NDArray], NDArray]] = {
    "identity": lambda Z: Z,
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "relu": lambda Z: np.maximum(Z, 0),
    "leaky_relu": lambda Z: np.where(Z >= 0, Z, 0.01 * Z),
    "elu": lambda Z: np.where(Z > 0, Z, np.expm1(np.minimum(Z, 0))),
    "softplus": lambda Z: np.logaddexp(Z, 0),
    "silu": lambda Z: Z * sigmoid(Z),
    "gelu": lambda Z: Z / 2 * (1 + _gelu_t(Z)),
    "softmax": _softmax,
}
G_PRIME: dict[str, Callable[[NDArray], NDArray]] = {
    "identity": np.ones_like,
    "sigmoid": lambda Z: sigmoid(Z) * (1 - sigmoid(Z)),
    "tanh": lambda Z: 1 - np.tanh(Z) ** 2,
    "relu": lambda Z: np.where(Z > 0, 1.0, 0.0),
    "leaky_relu": lambda Z: np.where(Z >= 0, 1, 0.01),
    "elu": lambda Z: np.exp(np.minimum(Z, 0)),
    "softplus": sigmoid,
    "silu": lambda Z: sigmoid(Z) * (1 + Z * (1 - sigmoid(Z))),
    "gelu": _gelu_prime,
}
