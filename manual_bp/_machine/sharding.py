"""Where an array lies while JAX traces: on which axes of a mesh, and whether it differs between shards."""

import jax
from jax import lax
from jax.sharding import AbstractMesh
from jaxtyping import Array


def spec(x: Array) -> tuple:
    """The mesh axis of each array axis, or None."""
    return tuple(jax.typeof(x).sharding.spec)


def mesh_of(*arrays: Array) -> AbstractMesh:
    """The first mesh that is not empty, or an empty one."""
    meshes = [jax.typeof(x).sharding.mesh for x in arrays]
    return next((mesh for mesh in meshes if not mesh.empty), meshes[0])


def as_cotangent(d: Array, primal: Array) -> Array:
    """`d` as the derivative with respect to `primal`.

    Inside `shard_map` the transpose of using a replicated value on every shard is the sum over the shards. Where
    `primal` itself differs between shards, and outside `shard_map`, there is nothing to add up. On a mesh with explicit
    axes the derivative is sharded like `primal`.
    """
    have, want = _varying(d), _varying(primal)
    if have - want:
        d = lax.psum(d, tuple(sorted(have - want)))
    d = varying_like(d, primal)
    placed = jax.typeof(primal).sharding
    return d if placed.mesh.empty or spec(d) == spec(primal) else jax.sharding.reshard(d, placed)


def varying_like(x: Array, other: Array) -> Array:
    """x as a value of each shard's own, where `other` is one; inside `shard_map` all shards may share x."""
    missing = _varying(other) - _varying(x)
    return lax.pcast(x, tuple(sorted(missing)), to="varying") if missing else x


def is_spread(X: Array, platform: str) -> bool:
    """Whether the columns of X may lie on several devices of a platform, as far as is known while JAX traces."""
    if _varying(X):
        return False  # inside shard_map the columns are those of one device
    return not mesh_of(X).empty or _device_count(platform) > 1


def _device_count(platform: str) -> int:
    try:
        return jax.device_count(platform)
    except RuntimeError:  # JAX has no such platform here
        return 0


def _varying(x: Array) -> frozenset:
    return jax.typeof(x).manual_axis_type.varying
