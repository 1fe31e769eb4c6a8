"""The matrix products of a layer, each in the form that is fastest for its shape on the processor it runs on.

Every product states the sharding of its result, because a mesh with explicit axes refuses a product that contracts a
sharded axis without it. Z[l] is sharded like the rows of W[l] and the columns of A[l-1], dA[l-1] like A[l-1], and
dW[l] like W[l]. Without a mesh this has no effect.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from manual_bp._machine.precision import accumulator
from manual_bp._machine.sharding import mesh_of, spec

NO_MESH = (None, None)


class ForRows(NamedTuple):
    """W of a layer whose inputs are rows; its outputs are rows too, or columns."""

    W: Float[Array, "n k"]
    to_columns: bool


def weighted_input(W: Float[Array, "n k"] | ForRows, A: Float[Array, "k m"] | Float[Array, "m k"]) -> Array:
    """W A, shape (n, m); transposed for rows."""
    if isinstance(W, ForRows):
        return _dot(W.W, A, (1, 1), NO_MESH) if W.to_columns else _dot(A, W.W, (1, 1), NO_MESH)
    return _dot(W, A, (1, 0), (spec(W)[0], spec(A)[1]))


def back_through_weights(W: Float[Array, "n k"] | ForRows, dZ: Array, A: Array) -> Array:
    """W^T dZ, shape (k, m), sharded like A; transposed for rows."""
    if isinstance(W, ForRows):
        return _dot(turned(dZ) if W.to_columns else dZ, W.W, (1, 0), NO_MESH)
    (n, k), m = W.shape, dZ.shape[1]
    as_it_is = partial(_dot, axes=(0, 0), out=spec(A))
    if m == 1:
        return as_it_is(W, dZ)
    # A CPU is slow at a product that contracts rows with rows, so the smaller factor is transposed first: W, or dZ and
    # with it the result. The barrier keeps XLA from folding the transpose back into the product
    form = _dZ_transposed if m * (n + k) < n * k else _W_transposed
    return on_cpu(partial(form, out=spec(A)), as_it_is, W, dZ)


def turned(X: Float[Array, "n m"]) -> Float[Array, "m n"]:
    """X^T, on a CPU in memory: a copy and a product of rows are faster there than a product that turns its factor."""
    return on_cpu(lax.optimization_barrier, lambda X: X, X.T)


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
