"""The cores of a CPU as devices that share out the examples of one gradient."""

import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from manual_bp._checks import arguments as validate
from manual_bp._checks import numbers
from manual_bp._machine import blocks
from manual_bp._machine.meshes import DATA
from manual_bp._network import Network, Params
from manual_bp._sums import partial_sums


def use_cpu_devices(count: int | None = None) -> Mesh:
    """Makes each core of the CPU a device of JAX's, and returns the mesh of them, with the one axis "data".

    Call it once, before anything asks JAX for a device: then JAX counts them. What is computed without the mesh lies on
    the first device, as before; `bp.value_and_grad(network, mesh=mesh)` and `bp.train_epoch(..., mesh=mesh)` use them
    all. With several devices `block_size="auto"` takes no blocks where there is no mesh, as the examples may be spread
    over the devices: give an integer to have blocks there.

    Args:
        count: of devices, 1 or more; as many as there are cores that the process may use unless given.

    Raises:
        RuntimeError: JAX has counted its devices already, and their number is another.
        TypeError, ValueError: a count that is not an integer, or is below 1.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = cores if count is None else numbers.count("count", count)
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        raise RuntimeError(
            f"JAX has counted its CPU devices already, {len(jax.devices('cpu'))} of them; expected bp.use_cpu_devices "
            f"to make them {count} before anything asks JAX for a device: in a new process, directly after the imports"
        ) from None
    return jax.make_mesh((count,), (DATA,), axis_types=(AxisType.Auto,), devices=jax.devices("cpu"))


@functools.lru_cache(maxsize=256)
def value_and_grad_on_mesh(
    network: Network, block_size: blocks.BlockSize, mesh: Mesh, at_once: Callable[..., tuple[Array, Params]]
) -> Callable[..., tuple[Array, Params]]:
    """(params, X, Y, weights=None) -> (cost, gradient), each device of the mesh at work on some of the examples.

    `at_once` is the same function without mesh and blocks, which "auto" calls where sharing out does not pay.
    """
    if mesh.is_multi_process:
        raise ValueError(f"mesh has devices of {jax.process_count()} processes; expected those of one")
    shared_out = jax.jit(functools.partial(_shared_out, network, mesh), static_argnums=4)
    as_they_are = set()

    def validated(*args: Any) -> tuple[Params, Array, Array, Array | None]:
        """`validate.arguments`, which takes milliseconds, once for the shapes and dtypes that it leaves as they are."""
        leaves, structure = jax.tree.flatten(args)
        kinds = structure, *((x.shape, x.dtype) for x in leaves if isinstance(x, jax.Array))
        if len(kinds) == 1 + len(leaves) and kinds in as_they_are:
            return args
        found = validate.arguments(network, *args)
        if all(x is y for x, y in zip(jax.tree.leaves(found), leaves, strict=True)):
            as_they_are.add(kinds)
        return found

    def value_and_grad(params: Params, X: Array, Y: Array, weights: Array | None = None) -> tuple[Array, Params]:
        size = block_size
        if size == "auto":
            size = _auto(network, params, X)
            if size is None:
                return at_once(params, X, Y, weights)
        args = validated(params, X, Y, weights)
        size = args[1].shape[1] if size is None else size
        if any(isinstance(x, Tracer) for x in jax.tree.leaves(args)):
            return shared_out(*args, size)
        result = shared_out(*_on_every_device(args, mesh), size)
        return jax.tree.map(lambda x: x.addressable_data(0), result)

    return value_and_grad


def _auto(network: Network, params: Params, X: Array) -> int | None:
    """The block size that "auto" stands for; None where all are taken at once, or X is such that the call will say so.

    From what is cheap to know: of all at once a call may take less time than checking the arguments here would.
    """
    dtype = getattr(next(iter(jax.tree.leaves(params)), None), "dtype", None)
    m = np.shape(X)[1] if np.ndim(X) == 2 else 0
    if m == 0 or dtype is None:
        return None
    size = blocks.auto(network.sizes, m, dtype.itemsize)
    return None if size == m else size


def _shared_out(
    network: Network, mesh: Mesh, params: Params, X: Array, Y: Array, weights: Array | None, size: int
) -> tuple[Array, Params]:
    """The cost and its gradient, each device cutting its blocks out of the whole, which all of them hold."""
    shards, m = mesh.shape[DATA], X.shape[1]
    share, rest = divmod(m, shards)

    def of_shard(params: Params, X: Array, Y: Array, weights: Array | None) -> tuple[Array, Params]:
        sums = functools.partial(partial_sums, network, params, X, Y, weights, size, params)
        parts = [sums(part=(lax.axis_index(DATA) * share, share))] if share else []
        if rest:
            # what does not divide is added up by all of them, and counted once
            parts.append(jax.tree.map(lambda s: s / shards, sums(part=(m - rest, rest))))
        # as one array: the devices wait for each other once
        flat, unravel = ravel_pytree(jax.tree.map(lambda *s: sum(s), *parts))
        c, dparams = unravel(lax.psum(flat, DATA))
        return c.astype(X.dtype), jax.tree.map(lambda d, p: d.astype(p.dtype), dparams, params)

    return jax.shard_map(of_shard, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False)(params, X, Y, weights)


def _on_every_device(tree: Any, mesh: Mesh) -> Any:
    """The arrays of a tree on all devices of a mesh; on those of a CPU without a copy, as they share its memory."""
    sharding = NamedSharding(mesh, P())
    if mesh.devices.flat[0].platform != "cpu":
        return jax.device_put(tree, sharding)
    leaves, structure = jax.tree.flatten(tree)
    elsewhere = [
        i
        for i, x in enumerate(leaves)
        if not (isinstance(x, jax.Array) and isinstance(x.sharding, NamedSharding) and x.sharding.mesh == mesh)
    ]
    on_host = [np.asarray(leaves[i]) for i in elsewhere]
    # all of them in one call for each device: one by one they take milliseconds
    pieces = [jax.device_put(on_host, device, may_alias=True) for device in mesh.local_devices]
    for i, x, *of_devices in zip(elsewhere, on_host, *pieces, strict=True):
        leaves[i] = jax.make_array_from_single_device_arrays(x.shape, sharding, of_devices)
    return jax.tree.unflatten(structure, leaves)
