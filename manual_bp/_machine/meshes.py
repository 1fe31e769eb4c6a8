"""Where the arrays of a training lie on the devices of a mesh."""

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

from manual_bp._checks import arguments as validate
from manual_bp._network import Layer

# The axis of a mesh over which the examples of a batch are spread
DATA = "data"


def place(tree: Any, mesh: Mesh, model_axis: str | None = None) -> Any:
    """The arrays of a tree, such as a `bp.TrainState` or a `bp.Dataset`, copied to the devices of a mesh.

    Every array lies whole on every device. Given `model_axis`, the layers do not: of W[l] and b[l], and of what an
    optimizer keeps in their form, such as Adam's moments, a device holds its share of the rows, the units of layer l.
    Where the rows do not divide by the size of that axis the layer lies whole on every device too.

    With several processes each calls this, with equal values. What lies in rows is made whole again by placing it again
    without `model_axis`; then every process can read it.

    Args:
        tree: a pytree of arrays, JAX's (random keys included) or NumPy's.
        mesh: of `jax.make_mesh`, its axes of type Auto or Explicit.
        model_axis: the name of one of its axes.

    Raises:
        TypeError, ValueError: a mesh that is none or has no such axis; values that differ between processes.
    """
    _is_mesh(mesh)
    if model_axis is not None and model_axis not in mesh.axis_names:
        raise ValueError(f"model_axis is {model_axis!r}; expected None or an axis of the mesh, which has {_axes(mesh)}")

    def spec(p: Any) -> PartitionSpec:
        rows = np.shape(p)[-2:-1]
        if model_axis is None or not rows or rows[0] % mesh.shape[model_axis]:
            return PartitionSpec()
        # the layers of many networks have further axes in front
        return PartitionSpec(*[None] * (np.ndim(p) - 2), model_axis)

    def specs(node: Any) -> Any:
        return jax.tree.map(spec, node) if isinstance(node, Layer) else PartitionSpec()

    # device_put would go on using the memory of an array that lies on one of the devices, whatever its may_alias says,
    # and a step that donates what was placed would take the array given with it
    copied = jax.tree.map(lambda x: jnp.copy(x) if isinstance(x, jax.Array) else x, tree)
    return _put(copied, mesh, jax.tree.map(specs, tree, is_leaf=lambda node: isinstance(node, Layer)))


def on_mesh(tree: Any, mesh: Mesh | None) -> Any:
    """The tree, with what does not lie on the mesh copied to all of its devices."""
    leaves, structure = jax.tree.flatten(tree)
    away = [i for i, x in enumerate(leaves) if not (isinstance(x, Tracer) or _lies_on(x, mesh))]
    if mesh is None or not away:
        return tree
    placed = _put([leaves[i] for i in away], mesh, [PartitionSpec()] * len(away))
    for i, x in zip(away, placed, strict=True):
        leaves[i] = x
    return jax.tree.unflatten(structure, leaves)


def keeps_placement(run: Callable[..., tuple], mesh: Mesh | None) -> Callable[..., tuple]:
    """`run`, a compiled (state, ...) -> (state, more): on the mesh, and the state returned lies as the one given.

    On axes of type Auto the compiler chooses where a result lies, and may spread what had been whole. The next call
    would then be compiled anew, and with several processes none could read it.
    """
    return run if mesh is None else _kept(run, mesh)


@functools.lru_cache(maxsize=256)
def _kept(run: Callable[..., tuple], mesh: Mesh) -> Callable[..., tuple]:
    @functools.lru_cache(maxsize=256)
    def compiled(structure: Any, shardings: tuple[NamedSharding, ...]) -> Callable[..., tuple]:
        whole = NamedSharding(mesh, PartitionSpec())
        return jax.jit(run, out_shardings=(jax.tree.unflatten(structure, shardings), whole))

    def kept(state: Any, *args: Any) -> tuple:
        state, *rest = on_mesh((state, *args), mesh)
        leaves, structure = jax.tree.flatten(state)
        if any(isinstance(x, Tracer) for x in leaves):
            return run(state, *rest)
        return compiled(structure, tuple(x.sharding for x in leaves))(state, *rest)

    return kept


def padded_size(size: int, mesh: Mesh | None, dropout: Sequence[float]) -> int:
    """The columns for a batch of that many examples: the next multiple of the size of axis "data"."""
    if mesh is None or size % mesh.shape[DATA] == 0:
        return size
    if any(dropout):
        raise ValueError(
            f"a batch has {size} examples, under dropout; expected a multiple of {mesh.shape[DATA]}, the size of the "
            f"mesh's axis '{DATA}': to fill the batch up would change which units are dropped"
        )
    return size + -size % mesh.shape[DATA]


def spread(arrays: Sequence[Any], mesh: Mesh | None, axis: int, dropout: Sequence[float] = ()) -> Sequence[Any]:
    """Arrays of the host on the mesh, along one axis spread over its axis "data", and padded there with zeros.

    Every process has all of them, and copies what its own devices take.
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
    """(X, Y, weights) in columns as blocks of at most `size` examples (X, Y, weights, sum of weights) on the mesh.

    One block, as it is, without a mesh.
    """
    X, Y, weights = examples
    if mesh is None:
        return [(X, Y, weights, 1.0)]
    m, size = X.shape[1], max(1, size // mesh.shape[DATA]) * mesh.shape[DATA]
    X, Y, w = (np.asarray(x) for x in (X, Y, jnp.ones(m, X.dtype) if weights is None else jnp.ravel(weights)))
    _same_in_every_process([X, Y, w], mesh)
    blocks = [[x[..., i : i + size] for x in (X, Y, w)] for i in range(0, m, size)]
    return [(*spread(block, mesh, -1), float(np.sum(block[2], dtype=np.float64))) for block in blocks]


def data_mesh(mesh: Mesh | None) -> None:
    """Refuses a mesh over which no batch can be spread."""
    if mesh is not None and DATA not in _is_mesh(mesh).axis_names:
        raise ValueError(
            f"mesh has {_axes(mesh)}; expected an axis '{DATA}', over which examples are spread, such as that of "
            f"jax.make_mesh((len(jax.devices()),), ('{DATA}',))"
        )


def _is_mesh(mesh: Any) -> Mesh:
    if not isinstance(mesh, Mesh):
        raise TypeError(f"mesh is {validate.a_kind(mesh)}; expected a jax.sharding.Mesh, as jax.make_mesh gives")
    return mesh


def _axes(mesh: Mesh) -> str:
    return "the axes " + ", ".join(map(repr, mesh.axis_names))


def _lies_on(x: Any, mesh: Mesh | None) -> bool:
    return isinstance(x, jax.Array) and isinstance(x.sharding, NamedSharding) and x.sharding.mesh == mesh


def _put(tree: Any, mesh: Mesh, specs: Any) -> Any:
    shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)
    if not mesh.is_multi_process:
        return jax.device_put(tree, shardings)
    local = [x for x in jax.tree.leaves(tree) if not _is_global(x)]
    _same_in_every_process([_host(x) for x in local], mesh)

    def put(x: Any, sharding: NamedSharding) -> jax.Array:
        if _is_global(x):
            return jax.device_put(x, sharding)
        placed = _from_host(_host(x), sharding)
        return jax.random.wrap_key_data(placed, impl=jax.random.key_impl(x)) if _is_key(x) else placed

    return jax.tree.map(put, tree, shardings)


def _is_global(x: Any) -> bool:
    return isinstance(x, jax.Array) and not x.is_fully_addressable


def _is_key(x: Any) -> bool:
    return isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, dtypes.prng_key)


def _host(x: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(x) if _is_key(x) else x)


def _from_host(x: np.ndarray, sharding: NamedSharding) -> jax.Array:
    # device_put would send the whole array to every process to compare it, and take NaN for a difference
    x = x.astype(dtypes.canonicalize_dtype(x.dtype))
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])


def _same_in_every_process(arrays: list[np.ndarray], mesh: Mesh) -> None:
    """Compares what processes are about to place: unequal copies would be trained on without a word."""
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
