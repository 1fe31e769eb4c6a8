"""The matrix products of a layer, as the machine wants them.

Each states the sharding of its result, because on a mesh with explicit axes a product that contracts a sharded axis
is refused without it: Z[l] lies like the rows of W[l] and the columns of A[l-1], dA[l-1] like A[l-1], dW[l] like W[l].
Without a mesh that says nothing.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float


def weighted_input(W: Float[Array, "n k"], A: Float[Array, "k m"]) -> Float[Array, "n m"]:
    """W A."""
    return _dot(W, 1, A, 0, (_spec(W)[0], _spec(A)[1]))


def back_through_weights(
    W: Float[Array, "n k"], dZ: Float[Array, "n m"], A: Float[Array, "k m"]
) -> Float[Array, "k m"]:
    """W^T dZ, placed like A."""
    (n, k), m = W.shape, dZ.shape[1]
    rows, columns = _spec(A)
    # A product that contracts rows with rows is slow on CPU, so a factor is transposed first: written out by the
    # barrier, which keeps XLA from folding it back. That is dZ of few examples, or of no more numbers than a W that
    # outgrows the cache, and else W. Measured at widths 10 to 1024: up to 4 times as fast at 64 examples of a wide
    # layer, 1.3 times at many; one example, and many on a narrow layer, gain nothing.
    on_cpu, is_large = jax.default_backend() == "cpu", n * k >= 2**19
    if on_cpu and 1 < m and (m <= 32 or is_large and m * (n + k) <= n * k):
        dZ_T = lax.optimization_barrier(dZ.T)
        return lax.optimization_barrier(_dot(dZ_T, 1, W, 0, (columns, rows))).T
    if on_cpu and m > 32 and k >= 128:
        W_T = lax.optimization_barrier(W.T)
        return _dot(W_T, 1, dZ, 0, (rows, columns))
    return _dot(W, 0, dZ, 0, (rows, columns))


def weight_gradient(
    dZ: Float[Array, "n m"], A: Float[Array, "k m"], W: Float[Array, "n k"], in_rows: bool = False
) -> Float[Array, "n k"]:
    """dZ A^T, summed in float32 at least and placed like W; `in_rows` says that A^T is what lies in memory."""
    (n, k), m = W.shape, dZ.shape[1]
    rows, columns = _spec(W)
    # On CPU the rows of a product are what is spread over the cores: of a layer with many more inputs than units they
    # are made the inputs. Measured 1.05 to 1.6 times as fast; slower with few examples, very few units, or from A^T.
    if jax.default_backend() == "cpu" and m >= 512 and 32 <= n <= k // 2 and not in_rows:
        return lax.optimization_barrier(_dot(A, 1, dZ, 1, (columns, rows), accumulator(dZ.dtype))).T
    return _dot(dZ, 1, A, 1, (rows, columns), accumulator(dZ.dtype))


def inner_products(X: Float[Array, "n m"]) -> Float[Array, "m m"]:
    """X^T X, its rows placed like the columns of X."""
    return _dot(X, 0, X, 0, (_spec(X)[1], None))


def outer_products(X: Float[Array, "n m"], Y: Float[Array, "j m"]) -> Float[Array, "n j"]:
    """X Y^T, held on every device."""
    return _dot(X, 1, Y, 1, (None, None))


def accumulator(dtype: jax.typing.DTypeLike) -> jnp.dtype:
    """The dtype in which sums over examples are held: float32 for a narrower one."""
    return jnp.dtype(dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32)


def as_cotangent(d: Array, primal: Array) -> Array:
    """`d` as the derivative with respect to `primal` inside `shard_map`.

    The transpose of using a replicated value on every shard is the sum over the shards. Where `primal` itself differs
    between shards, and outside `shard_map`, there is nothing to add up. On a mesh with explicit axes it is placed
    like `primal`.
    """
    have, want = jax.typeof(d).manual_axis_type.varying, jax.typeof(primal).manual_axis_type.varying
    if have - want:
        d = lax.psum(d, tuple(sorted(have - want)))
    d = varying_like(d, primal)
    placed = jax.typeof(primal).sharding
    return d if placed.mesh.empty or _spec(d) == _spec(primal) else jax.sharding.reshard(d, placed)


def varying_like(x: Array, other: Array) -> Array:
    """x, which inside `shard_map` all shards may share, as a value of its own on each shard where `other` is one."""
    have, want = jax.typeof(x).manual_axis_type.varying, jax.typeof(other).manual_axis_type.varying
    return lax.pcast(x, tuple(sorted(want - have)), to="varying") if want - have else x


def is_spread(X: Array) -> bool:
    """Whether the columns of X may lie on several devices, as far as is known while JAX traces."""
    if jax.typeof(X).manual_axis_type.varying:
        return False  # inside shard_map: those of one device
    return not jax.typeof(X).sharding.mesh.empty or jax.device_count() > 1


def _dot(a: Array, a_axis: int, b: Array, b_axis: int, spec: tuple, dtype: jnp.dtype | None = None) -> Array:
    """The product that contracts one axis of each, its result placed as `spec` says."""
    meshes = [jax.typeof(x).sharding.mesh for x in (a, b)]
    mesh = meshes[1] if meshes[0].empty else meshes[0]
    return lax.dot_general(
        a,
        b,
        (((a_axis,), (b_axis,)), ((), ())),
        preferred_element_type=dtype,
        out_sharding=NamedSharding(mesh, PartitionSpec(*spec)),
    )


def _spec(x: Array) -> tuple:
    return tuple(jax.typeof(x).sharding.spec)
