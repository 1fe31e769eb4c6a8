"""Arrays on the devices of a mesh, in one process or several."""

import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import dtypes
from jax.core import Tracer
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from manual_bp._machine.devices import DATA, lies_on


def on_mesh(tree: Any, mesh: Mesh | None) -> Any:
    """The tree, with every array that does not lie on the mesh copied to all of its devices."""
    leaves, structure = jax.tree.flatten(tree)
    away = [i for i, x in enumerate(leaves) if not (isinstance(x, Tracer) or lies_on(x, mesh))]
    if mesh is None or not away:
        return tree
    placed = put_on_mesh([leaves[i] for i in away], mesh, [PartitionSpec()] * len(away))
    for i, x in zip(away, placed, strict=True):
        leaves[i] = x
    return jax.tree.unflatten(structure, leaves)


@functools.lru_cache(maxsize=256)
def keeps_placement(step: Callable[..., tuple], mesh: Mesh | None) -> Callable[..., tuple]:
    """A compiled (state, ...) -> (state, more) on the mesh, whose new state is sharded like the old one.

    On axes of type Auto the compiler chooses the sharding of a result, and may spread an array that was whole. The next
    call would then be compiled anew, and with several processes none could read the array.
    """
    if mesh is None:
        return step

    @functools.lru_cache(maxsize=256)
    def compiled(structure: Any, shardings: tuple[NamedSharding, ...]) -> Callable[..., tuple]:
        whole = NamedSharding(mesh, PartitionSpec())
        return jax.jit(step, out_shardings=(jax.tree.unflatten(structure, shardings), whole))

    def kept(state: Any, *args: Any) -> tuple:
        state, *rest = on_mesh((state, *args), mesh)
        leaves, structure = jax.tree.flatten(state)
        if any(isinstance(x, Tracer) for x in leaves):
            return step(state, *rest)
        return compiled(structure, tuple(x.sharding for x in leaves))(state, *rest)

    return kept


def padded_size(size: int, mesh: Mesh | None, dropout: Sequence[float]) -> int:
    """The columns for a batch of `size` examples: the next multiple of the size of axis "data"."""
    if mesh is None or size % mesh.shape[DATA] == 0:
        return size
    if any(dropout):
        raise ValueError(
            f"a batch has size {size}, under dropout; expected a multiple of {mesh.shape[DATA]}, the size of the "
            f"mesh's axis '{DATA}', because filling the batch up would change which units are dropped"
        )
    return size + -size % mesh.shape[DATA]


def spread(arrays: Sequence[Any], mesh: Mesh | None, axis: int, dropout: Sequence[float] = ()) -> Sequence[Any]:
    """Arrays of the host, spread along one axis over the mesh's axis "data" and padded there with zeros.

    Every process has all of the arrays, and copies the part of its own devices.
    """
    if mesh is None:
        return arrays
    placed = []
    for x in map(np.asarray, arrays):
        at = axis % x.ndim
        extra = padded_size(x.shape[at], mesh, dropout) - x.shape[at]
        x = np.pad(x, [(0, extra if i == at else 0) for i in range(x.ndim)])
        placed.append(_from_host(x, NamedSharding(mesh, PartitionSpec(*[None] * at, DATA))))
    return placed


def spread_in_blocks(examples: tuple[Any, Any, Any], mesh: Mesh | None, size: int) -> list[tuple]:
    """Columns (X, Y, weights) as blocks (X, Y, weights, sum of weights) of at most `size` examples on the mesh.

    Without a mesh there is one block, unchanged.
    """
    X, Y, weights = examples
    if mesh is None:
        return [(X, Y, weights, 1.0)]
    m, size = X.shape[1], max(1, size // mesh.shape[DATA]) * mesh.shape[DATA]
    columns = [np.asarray(x) for x in (X, Y, jnp.ones(m, X.dtype) if weights is None else jnp.ravel(weights))]
    _same_in_every_process(columns, mesh)
    blocks = [[x[..., i : i + size] for x in columns] for i in range(0, m, size)]
    return [(*spread(block, mesh, -1), float(np.sum(block[2], dtype=np.float64))) for block in blocks]


def put_on_mesh(tree: Any, mesh: Mesh, specs: Any) -> Any:
    """The tree on the mesh, each array sharded as the tree `specs` says; equal in every process, or refused."""
    shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)
    if not mesh.is_multi_process:
        return jax.device_put(tree, shardings)
    _same_in_every_process([_on_host(x) for x in jax.tree.leaves(tree) if not _is_global(x)], mesh)

    def put(x: Any, sharding: NamedSharding) -> jax.Array:
        if _is_global(x):
            return jax.device_put(x, sharding)
        placed = _from_host(_on_host(x), sharding)
        return jax.random.wrap_key_data(placed, impl=jax.random.key_impl(x)) if _is_key(x) else placed

    return jax.tree.map(put, tree, shardings)


def _is_global(x: Any) -> bool:
    return isinstance(x, jax.Array) and not x.is_fully_addressable


def _is_key(x: Any) -> bool:
    return isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, dtypes.prng_key)


def _on_host(x: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(x) if _is_key(x) else x)


def _from_host(x: np.ndarray, sharding: NamedSharding) -> jax.Array:
    # device_put would send the whole array to every process to compare it, and take NaN for a difference
    x = x.astype(dtypes.canonicalize_dtype(x.dtype))
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])


def _same_in_every_process(arrays: list[np.ndarray], mesh: Mesh) -> None:
    """Compare the arrays that the processes are about to place: training would not notice unequal copies."""
    if not mesh.is_multi_process or len({d.process_index for d in mesh.devices.flat}) < jax.process_count():
        return
    digest = hashlib.blake2b(digest_size=8)
    for x in arrays:
        digest.update(f"{x.shape} {x.dtype}".encode())
        digest.update(np.ascontiguousarray(x).data)
    digests = multihost_utils.process_allgather(np.frombuffer(digest.digest(), np.uint32))
    different = np.flatnonzero((digests != digests[0]).any(axis=1))
    if different.size:
        raise ValueError(
            f"the arrays to be placed on the mesh differ between process 0 and {different.tolist()}; expected every "
            "process to give all of the data, the same key and the same options"
        )
