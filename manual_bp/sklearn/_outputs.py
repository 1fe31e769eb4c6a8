"""Quantities of a fitted network for examples in rows, computed in blocks so that few shapes are compiled."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from manual_bp._activations import SOFTMAX
from manual_bp._forward import forward
from manual_bp._network import Network, Params
from manual_bp._quantities.output_gradient import output_gradient
from manual_bp._record import backpropagate

# The most examples in a block; a smaller block is filled up to a power of two
BLOCK = 8192


def in_blocks(function: Callable[[Any], Any], X: Any, dtype: np.dtype) -> Any:
    """Applies a function of columns to the rows of X, sparse or not; returns arrays with the examples first."""

    def apply(X: Any) -> Any:
        m = X.shape[0]
        rows = np.asarray(X.toarray() if hasattr(X, "toarray") else X, dtype)
        rows = np.pad(rows, ((0, (1 << (m - 1).bit_length()) - m), (0, 0)))
        return jax.tree.map(lambda x: np.moveaxis(np.asarray(x), -1, 0)[:m], function(rows.T))

    X = X.tocsr() if hasattr(X, "tocsr") else X
    blocks = [apply(X[i : i + BLOCK]) for i in range(0, X.shape[0], BLOCK)]
    return jax.tree.map(lambda *parts: np.concatenate(parts), *blocks)


@functools.partial(jax.jit, static_argnames="log")
def probabilities(network: Network, params: Params, X: Array, log: bool) -> Array:
    """Returns the outputs A[L] of a softmax or of sigmoids, or its logarithm; a single output follows 1 - A[L].

    Computed from Z[L]: a probability near 0 keeps its digits, and if it rounds to 0 its logarithm is still finite.
    """
    Z = forward(network, params, X)[1][-1]
    # 1 - sigmoid(Z) = sigmoid(-Z)
    Z = jnp.concatenate([-Z, Z]) if len(Z) == 1 else Z
    if not log:
        return network.output.g(Z)
    return jax.nn.log_softmax(Z, axis=0) if network.output == SOFTMAX else jax.nn.log_sigmoid(Z)


def hidden_activations(network: Network, params: Params, X: Array) -> list[Array]:
    """Returns A[1] to A[L-1]."""
    return forward(network, params, X)[0][1:-1]


@jax.jit
def input_gradients(network: Network, params: Params, X: Array, k: Array | None) -> Array:
    """Returns the derivative of output k by the inputs; of every output, along the first axis, if k is None."""
    record = backpropagate(network, params, X, jnp.zeros((network.sizes[-1], X.shape[1]), X.dtype))
    if k is not None:
        return output_gradient(record, k)
    return jax.vmap(lambda k: output_gradient(record, k))(jnp.arange(network.sizes[-1]))
