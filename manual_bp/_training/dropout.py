"""Dropout: during training, hidden units are absent at random, drawn anew for each example."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array

from manual_bp._activations import Activation
from manual_bp._network import Network


def with_dropout(
    network: Network, rates: Sequence[float], key: Array, m: int, dtype: jnp.dtype, in_rows: bool = False
) -> Network:
    """The network whose hidden layer l has the activation D[l] * g[l], for the m examples of one step.

    D[l] is drawn in shape (n_l, m), and transposed for a pass whose hidden layers are `in_rows`.

    D[l] is 0 with probability rates[l-1] and 1 / (1 - rate) otherwise, so that the mean of D[l] * g[l] is g[l]. Its
    derivative is D[l] * g[l]', and the equations are those of any network: A[l] = D[l] * g[l](Z[l]),
    dZ[l] = dA[l] * D[l] * g[l]'(Z[l]).

    Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting (2014), in the inverted form.
    """
    keys = jax.random.split(key, len(rates))
    layers = zip(network.hidden, network.sizes[1:], rates, keys, strict=False)
    hidden = [g if rate == 0 else _dropped(g, _drawn(rate, key, (n, m), dtype), in_rows) for g, n, rate, key in layers]
    return Network(network.sizes, hidden, network.output, network.cost)


def _drawn(rate: float, key: Array, shape: tuple[int, int], dtype: jnp.dtype) -> Array:
    return jax.random.bernoulli(key, 1 - rate, shape).astype(dtype) / (1 - rate)


def _dropped(g: Activation, D: Array, in_rows: bool) -> Activation:
    D = D.T if in_rows else D
    g_prime = g.g_prime
    assert g_prime is not None  # a hidden layer is no softmax

    def dropped(Z: Array) -> Array:
        return D * g.g(Z)

    def dropped_prime(Z: Array, A: Array) -> Array:
        # A is 0 where the unit is dropped, so g's own output is computed again
        return D * g_prime(Z, g.g(Z))

    return Activation(dropped, dropped_prime)
