"""What is measured: networks, batch sizes, and the four programs that compute one and the same gradient."""

import argparse
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import manual_bp as bp
from reference import autodiff

# ReLU in the hidden layers, softmax and cross-entropy at the output, class indices as targets
NETWORKS = {
    "784-128-10": (784, 128, 10),
    "784-512-512-10": (784, 512, 512, 10),
    "5x64": (64, 64, 64, 64, 64, 10),
    "1024-1024-1024-1024": (1024, 1024, 1024, 1024),
}


class Plan(NamedTuple):
    """How much is measured: in each cell as many rounds as fit into `seconds`, from `least` to `most` of them."""

    batch_sizes: tuple[int, ...]
    seconds: float
    least: int
    most: int


# At its largest cell (1024-1024-1024-1024, 65,536 examples) a round takes 20 s on two cores: eight rounds then, and an
# interval as wide as eight rounds make it
FULL = Plan(tuple(4**k for k in range(9)), seconds=6.0, least=8, most=500)
QUICK = Plan((1, 16, 1024), seconds=1.0, least=8, most=500)


class Program(NamedTuple):
    """A compiled function and what it is called with; it returns (cost, gradient)."""

    function: Any  # of jax.jit
    args: tuple

    def __call__(self) -> Any:
        return self.function(*self.args)


def programs(sizes: tuple[int, ...], batch_size: int, dtype: str) -> dict[str, Program]:
    """The four programs over the same numbers.

    "manual" is `bp.value_and_grad`. "autodiff" is what a good user writes, examples in columns as the equations have
    them; "autodiff_rows" the same with examples in rows, as most JAX code has them. "control" is a second copy of
    "autodiff", compiled apart: a measurement that tells the two from each other is not to be believed.
    """
    network, model = bp.Network(sizes), autodiff.Model(sizes, "relu", "softmax", "cross_entropy")
    params = bp.init(network, jax.random.key(0), jnp.dtype(dtype))
    rng = np.random.default_rng(0)
    # Inputs like pixels, in [0, 1): see `gradients.BOUNDS`
    columns = rng.random((sizes[0], batch_size), np.float32)
    X, rows = (jnp.asarray(np.ascontiguousarray(x), dtype) for x in (columns, columns.T))
    Y = jnp.asarray(rng.integers(sizes[-1], size=batch_size), jnp.int32)
    return {
        "manual": Program(bp.value_and_grad(network), (params, X, Y)),
        "autodiff": Program(_autodiff(autodiff.cost, model), (params, X, Y)),
        "autodiff_rows": Program(_autodiff(autodiff.cost_of_rows, model), (params, rows, Y)),
        "control": Program(_autodiff(autodiff.cost, model), (params, X, Y)),
    }


def _autodiff(cost: Callable[..., jax.Array], model: autodiff.Model) -> Callable[..., Any]:
    # a new function each time, so that no two programs share what JAX has compiled
    return jax.jit(jax.value_and_grad(lambda params, X, Y: cost(model, params, X, Y)))


def flops(sizes: tuple[int, ...], batch_size: int) -> int:
    """Floating-point operations in the matrix products of one gradient.

    Z, dA and dW take 2 n_l n_{l-1} for each example and layer; dA[0] is not needed.
    """
    per_layer = [k * n for k, n in zip(sizes[:-1], sizes[1:], strict=True)]
    return batch_size * (6 * sum(per_layer) - 2 * per_layer[0])


def network(text: str) -> tuple[str, tuple[int, ...]]:
    """The name and sizes of a network given on the command line, by name or as sizes joined by dashes."""
    if text in NETWORKS:
        return text, NETWORKS[text]
    if not re.fullmatch(r"[1-9]\d*(-[1-9]\d*)+", text):
        raise argparse.ArgumentTypeError(
            f"unknown network {text!r}; expected {', '.join(NETWORKS)}, or sizes such as 12-8-3"
        )
    return text, tuple(int(n) for n in text.split("-"))


def positive(text: str) -> int:
    """A whole number above zero given on the command line."""
    if not re.fullmatch(r"[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def rounds(text: str) -> int:
    """A number of rounds given on the command line, enough for a 95 % interval."""
    n = positive(text)
    if n < 6:
        # the whole range of n ratios holds their median with probability 1 - 2^(1-n)
        raise argparse.ArgumentTypeError(f"{n} rounds have no 95 % interval; expected 6 or more")
    return n
