"""The outputs and derivatives of a fitted network for examples in rows, in blocks, so that few shapes are compiled."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from manual_bp._activations import SOFTMAX
from manual_bp._forward import forward, predict
from manual_bp._network import Network, Params
from manual_bp._quantities.output_gradient import output_gradient
from manual_bp._record import backpropagate

# The most examples in a block; a smaller block is filled up to a power of two
BLOCK = 8192


def in_blocks(function: Callable[[Any], Any], X: Any, dtype: np.dtype) -> Any:
    """Applies a function of columns to the rows of X, sparse or not; returns arrays with the examples first."""
    X = X.tocsr() if hasattr(X, "tocsr") else X
    return jax.tree.map(
        lambda *parts: np.concatenate(parts),
        *(_apply_to_block(function, X[i : i + BLOCK], dtype) for i in range(0, X.shape[0], BLOCK)),
    )


def _apply_to_block(function: Callable[[Any], Any], X: Any, dtype: np.dtype) -> Any:
    m = X.shape[0]
    rows = np.asarray(X.toarray() if hasattr(X, "toarray") else X, dtype)
    rows = np.pad(rows, ((0, (1 << (m - 1).bit_length()) - m), (0, 0)))
    return jax.tree.map(lambda x: np.moveaxis(np.asarray(x), -1, 0)[:m], function(rows.T))


def output_activations(network: Network, params: Params, X: Any, dtype: np.dtype) -> np.ndarray:
    """The outputs A[L]."""
    return in_blocks(lambda X: predict(network, params, X), X, dtype)


def probabilities(network: Network, params: Params, X: Any, dtype: np.dtype, log: bool) -> np.ndarray:
    """The outputs A[L] of a softmax or of sigmoids, or its logarithm; a single output is preceded by 1 - A[L].

    Computed from Z[L]: a probability near 0 keeps its digits, and if it rounds to 0 its logarithm is still finite.
    """
    return in_blocks(lambda X: _probabilities(network, params, X, log), X, dtype)


def hidden_activations(network: Network, params: Params, X: Any, dtype: np.dtype) -> list[np.ndarray]:
    """The activations A[1] to A[L-1]."""
    return in_blocks(lambda X: forward(network, params, X)[0][1:-1], X, dtype)


def input_gradients(network: Network, params: Params, X: Any, dtype: np.dtype, k: int | None) -> np.ndarray:
    """The derivative of output k by the inputs; of every output, along a second axis, if k is None."""
    return in_blocks(lambda X: _input_gradients(network, params, X, k), X, dtype)


@functools.partial(jax.jit, static_argnames="log")
def _probabilities(network: Network, params: Params, X: Array, log: bool) -> Array:
    Z = forward(network, params, X)[1][-1]
    # 1 - sigmoid(Z) = sigmoid(-Z)
    Z = jnp.concatenate([-Z, Z]) if len(Z) == 1 else Z
    if not log:
        return network.output.g(Z)
    return jax.nn.log_softmax(Z, axis=0) if network.output == SOFTMAX else jax.nn.log_sigmoid(Z)


@jax.jit
def _input_gradients(network: Network, params: Params, X: Array, k: Array | None) -> Array:
    record = backpropagate(network, params, X, jnp.zeros((network.sizes[-1], X.shape[1]), X.dtype))
    if k is not None:
        return output_gradient(record, k)
    return jax.vmap(lambda k: output_gradient(record, k))(jnp.arange(network.sizes[-1]))
