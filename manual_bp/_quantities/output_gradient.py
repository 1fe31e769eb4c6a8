"""What an output owes to each input."""

import functools

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Integer

from manual_bp import _equations as equations
from manual_bp._activations import activation_backward
from manual_bp._record import Record, check_record


def output_gradient(record: Record, k: int | Integer[Array, ""], before_activation: bool = False) -> Array:
    """The derivative of every example's output k with respect to its inputs: the backward pass from dA[L] = e_k.

    The derivative of each loss with respect to its inputs needs no function: it is `record.dA[0]`.

    Args:
        record: of `bp.backpropagate`; the targets have no part in this.
        k: an output, 0 to n_L - 1. Under `jax.vmap` over all of them it gives each example's Jacobian, in an array of
            shape (n_L, n_0, m).
        before_activation: of Z[L][k], such as a softmax's logit, instead of A[L][k]. Simonyan et al., Deep inside
            convolutional networks (2013), arXiv:1312.6034, take it for their saliency maps.

    Returns:
        Shape (n_0, m), as X.

    Raises:
        ValueError: an output that is not there. (One that is traced is not seen: it gives 0.)
    """
    check_record(record)
    n = record.network.sizes[-1]
    if getattr(k, "ndim", 0) or not jnp.issubdtype(jnp.result_type(k), jnp.integer):
        raise TypeError(f"k is {k}; expected an integer; for several outputs take jax.vmap over it")
    if not isinstance(k, Tracer) and not 0 <= k < n:
        raise ValueError(f"k is {k}; expected an output of the network, 0 to {n - 1}")
    return _output_gradient(record, k, before_activation)


@functools.partial(jax.jit, static_argnames="before_activation")
def _output_gradient(record: Record, k: Array, before_activation: bool) -> Array:
    network, A, Z = record.network, record.A, record.Z
    e_k = jnp.broadcast_to(jax.nn.one_hot(k, network.sizes[-1], dtype=A[-1].dtype)[:, None], A[-1].shape)
    dZ_L = e_k if before_activation else activation_backward(network.output, e_k, Z[-1], A[-1])
    dA, _ = equations.backward(network.activations, record.params, A, Z, dZ_L)
    return dA[0]
