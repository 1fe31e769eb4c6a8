"""The derivative of an output with respect to the inputs."""

import functools

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Integer

from manual_bp import _equations as equations
from manual_bp._activations import activation_backward
from manual_bp._record import Record, check_record


def output_gradient(record: Record, k: int | Integer[Array, ""], before_activation: bool = False) -> Array:
    """Compute the derivative of each example's output k with respect to its inputs: the backward pass from dA[L] = e_k.

    The derivative of each loss with respect to its inputs is in the record already, as `record.dA[0]`.

    Args:
        record: the record of `bp.backpropagate`; its targets are not used.
        k: the index of an output, 0 to n_L - 1. `jax.vmap` over all of them gives the Jacobians of the examples, in an
            array of shape (n_L, n_0, m).
        before_activation: whether to differentiate Z[L][k], such as the logit of a softmax, instead of A[L][k].
            Simonyan et al., Deep inside convolutional networks (2013), arXiv:1312.6034, use it for saliency maps.

    Returns:
        The derivatives, shape (n_0, m), like X.

    Raises:
        TypeError: a k that is not one integer.
        ValueError: a k that is not 0 to n_L - 1. A traced k is not checked; outside the range it gives 0.

    Example:
        >>> network = bp.Network((2, 3, 4))
        >>> params = bp.init(network, jax.random.key(0))
        >>> record = bp.backpropagate(network, params, jnp.ones((2, 5)), jnp.arange(5) % 4)
        >>> jax.vmap(lambda k: bp.output_gradient(record, k))(jnp.arange(4)).shape
        (4, 2, 5)
    """
    check_record(record)
    n = record.network.sizes[-1]
    if getattr(k, "ndim", 0) or not jnp.issubdtype(jnp.result_type(k), jnp.integer):
        raise TypeError(f"k is {k}; expected one integer; for several outputs use jax.vmap over k")
    if not isinstance(k, Tracer) and not 0 <= k < n:
        raise ValueError(f"k is {k}; expected the index of an output, 0 to {n - 1}")
    return _output_gradient(record, k, before_activation)


@functools.partial(jax.jit, static_argnames="before_activation")
def _output_gradient(record: Record, k: Array, before_activation: bool) -> Array:
    network, A, Z = record.network, record.A, record.Z
    e_k = jnp.broadcast_to(jax.nn.one_hot(k, network.sizes[-1], dtype=A[-1].dtype)[:, None], A[-1].shape)
    dZ_L = e_k if before_activation else activation_backward(network.output, e_k, Z[-1], A[-1])
    dA, _ = equations.backward(network.activations, record.params, A, Z, dZ_L)
    return dA[0]
