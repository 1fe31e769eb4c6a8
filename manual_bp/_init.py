"""Random initialisation, which breaks the symmetry between the units of a layer; zeros would keep it for ever."""

import jax
import jax.numpy as jnp

from manual_bp._checks import numbers
from manual_bp._checks.arguments import check_network
from manual_bp._network import Layer, Network, Params


def init(network: Network, key: jax.Array, dtype: jax.typing.DTypeLike = float) -> Params:
    """Draw random weights, and set zero biases.

    W[l] is normal, cut off at two standard deviations, with variance 2/n_{l-1} (He et al. 2015) where activation l
    asks for it, as the ReLU family does, and 2/(n_{l-1} + n_l) otherwise (Glorot and Bengio 2010); b[l] = 0.

    Args:
        network: the description.
        key: a key of `jax.random.key`.
        dtype: float32, float64 or bfloat16; by default JAX's default float (float64 where x64 is on).

    Returns:
        A tuple of L layers, W[l] of shape (n_l, n_{l-1}) and b[l] of shape (n_l, 1).

    Raises:
        TypeError: a network, key or dtype of another kind.
        ValueError: float64 without jax_enable_x64, which JAX would make float32.

    Example:
        >>> params = bp.init(bp.Network((784, 256, 10)), jax.random.key(0))
        >>> [(W.shape, b.shape) for W, b in params]
        [((256, 784), (256, 1)), ((10, 256), (10, 1))]
    """
    check_network(network)
    numbers.key(key)
    return _drawn(network, key, numbers.dtype(dtype))


@jax.jit(static_argnames="dtype")
def _drawn(network: Network, key: jax.Array, dtype: str) -> Params:
    keys = jax.random.split(key, len(network.activations))
    layers = zip(network.sizes[:-1], network.sizes[1:], network.activations, keys, strict=True)
    return tuple(
        Layer(W=_INITIALIZERS[g.init](key, (n, k), dtype), b=jnp.zeros((n, 1), dtype)) for k, n, g, key in layers
    )


_INITIALIZERS = {
    "he": jax.nn.initializers.he_normal(in_axis=1, out_axis=0),
    "glorot": jax.nn.initializers.glorot_normal(in_axis=1, out_axis=0),
}
