"""The matrix products of a layer, each in the form that is fastest for its shape on the processor it runs on.

Every product states the sharding of its result, because a mesh with explicit axes refuses a product that contracts a
sharded axis without it. Z[l] is sharded like the rows of W[l] and the columns of A[l-1], dA[l-1] like A[l-1], and
dW[l] like W[l]. Without a mesh this has no effect.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from manual_bp._machine.precision import accumulator
from manual_bp._machine.sharding import mesh_of, spec


def weighted_input(W: Float[Array, "n k"], A: Float[Array, "k m"]) -> Float[Array, "n m"]:
    """W A."""
    return _dot(W, A, (1, 0), (spec(W)[0], spec(A)[1]))


def back_through_weights(
    W: Float[Array, "n k"], dZ: Float[Array, "n m"], A: Float[Array, "k m"]
) -> Float[Array, "k m"]:
    """W^T dZ, sharded like A."""
    (n, k), m = W.shape, dZ.shape[1]
    as_it_is = partial(_dot, axes=(0, 0), out=spec(A))
    # A CPU is slow at a product that contracts rows with rows, so one factor is transposed first. The barrier keeps XLA
    # from folding the transpose back into the product. That factor is dZ if it has few examples, or no more elements
    # than a W that outgrows the cache; otherwise it is W. Measured at widths 10 to 1024: up to 4 times as fast at 64
    # examples of a wide layer, 1.3 times at many. One example, and many examples of a narrow layer, gain nothing.
    is_large = n * k >= 2**19
    if 1 < m and (m <= 32 or is_large and m * (n + k) <= n * k):
        return on_cpu(partial(_dZ_transposed, out=spec(A)), as_it_is, W, dZ)
    if m > 32 and k >= 128:
        return on_cpu(partial(_W_transposed, out=spec(A)), as_it_is, W, dZ)
    return as_it_is(W, dZ)


def _dZ_transposed(W: Array, dZ: Array, out: tuple) -> Array:
    dZ_T = lax.optimization_barrier(dZ.T)
    return lax.optimization_barrier(_dot(dZ_T, W, (1, 0), out[::-1])).T


def _W_transposed(W: Array, dZ: Array, out: tuple) -> Array:
    W_T = lax.optimization_barrier(W.T)
    return _dot(W_T, dZ, (1, 0), out)


def weight_gradient(
    dZ: Float[Array, "n m"], A: Float[Array, "k m"], W: Float[Array, "n k"], in_rows: bool = False
) -> Float[Array, "n k"]:
    """dZ A^T, summed in float32 at least and sharded like W; `in_rows` says that A^T is the array in memory."""
    (n, k), m = W.shape, dZ.shape[1]
    as_it_is = partial(_dot, axes=(1, 1), out=spec(W), dtype=accumulator(dZ.dtype))
    # A CPU spreads the rows of a product over its cores, so a layer with many more inputs than units has its inputs
    # there. Measured 1.05 to 1.6 times as fast; slower with few examples, with very few units, or from rows in memory.
    if m >= 512 and 32 <= n <= k // 2 and not in_rows:
        return on_cpu(partial(_dW_transposed, out=spec(W)), as_it_is, dZ, A)
    return as_it_is(dZ, A)


def _dW_transposed(dZ: Array, A: Array, out: tuple) -> Array:
    return lax.optimization_barrier(_dot(A, dZ, (1, 1), out[::-1], accumulator(dZ.dtype))).T


def bias_gradient(dZ: Float[Array, "n m"]) -> Float[Array, "n 1"]:
    """The sum of the columns of dZ, in float32 at least."""
    return jnp.sum(dZ, axis=1, keepdims=True, dtype=accumulator(dZ.dtype))


def kept(A: Array) -> Array:
    """A, held in memory until the backward pass reads it.

    Without the barrier XLA on CPU keeps the product W A and forms Z and g(Z) from it again wherever the backward pass
    wants them. It then holds both W A and A, which is twice the memory.
    """
    return A if A.shape[-1] == 1 else on_cpu(lax.optimization_barrier, lambda A: A, A)


def inner_products(X: Float[Array, "n m"]) -> Float[Array, "m m"]:
    """X^T X, its rows sharded like the columns of X."""
    return _dot(X, X, (0, 0), (spec(X)[1], None))


def outer_products(X: Float[Array, "n m"], Y: Float[Array, "j m"]) -> Float[Array, "n j"]:
    """X Y^T, whole on every device."""
    return _dot(X, Y, (1, 1), (None, None))


def on_cpu(cpu_form: Callable[..., Any], other_form: Callable[..., Any], *args: Any) -> Any:
    """The form for the platform that the program is compiled for, whatever JAX's default platform is."""
    return lax.platform_dependent(*args, cpu=cpu_form, default=other_form)


def _dot(a: Array, b: Array, axes: tuple[int, int], out: tuple, dtype: jnp.dtype | None = None) -> Array:
    """The product that contracts one axis of a with one of b, its result sharded as `out` says."""
    return lax.dot_general(
        a,
        b,
        (((axes[0],), (axes[1],)), ((), ())),
        preferred_element_type=dtype,
        out_sharding=NamedSharding(mesh_of(a, b), PartitionSpec(*out)),
    )
