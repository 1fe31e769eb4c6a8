"""The entry of each column at its class, read or changed in the form that suits the processor and the mesh."""

import jax.numpy as jnp
from jaxtyping import Array

from manual_bp._machine.products import on_cpu
from manual_bp._machine.sharding import spec


def entry_at_class(Z: Array, Y: Array) -> Array:
    """The entry of each column of Z at its class, shape (m,)."""
    # a mesh with explicit axes refuses gathers and scatters along a sharded axis
    if any(spec(Z)):
        return jnp.sum(jnp.where(is_class(Y, Z), Z, 0), axis=0)
    return jnp.take_along_axis(Z, Y[None, :], axis=0, mode="clip")[0]


def minus_one_at_class(A: Array, Y: Array) -> Array:
    """A - Y, for class indices Y."""

    def compared(A: Array, Y: Array) -> Array:
        return A - is_class(Y, A).astype(A.dtype)

    # On CPU in place: with a comparison instead, gradients of 784-128-10 took up to 7 % longer in jax 0.10
    def scattered(A: Array, Y: Array) -> Array:
        return A.at[Y, jnp.arange(len(Y))].add(-1)

    return compared(A, Y) if any(spec(A)) else on_cpu(scattered, compared, A, Y)


def is_class(Y: Array, A: Array) -> Array:
    """Whether the row of A is the column's class, shape (n, m)."""
    return jnp.arange(len(A))[:, None] == Y[None, :]
