"""The devices of a mesh that share out the examples of one sum."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

# The axis of a mesh over which examples are spread
DATA = "data"


def is_cpu(mesh: Mesh) -> bool:
    return mesh.devices.flat[0].platform == "cpu"


def sum_over_devices(part: Callable[..., Any], mesh: Mesh, m: int, *whole: Any) -> Any:
    """The sum over m examples of which each device of the mesh adds up its share.

    Args:
        part: a function (first, number, *whole) that returns the sum over those examples, as a pytree of arrays.
        mesh: a mesh with the axis "data".
        m: the number of examples.
        whole: arrays that every device holds whole; each cuts its blocks out of them.
    """
    shards = mesh.shape[DATA]
    share, rest = divmod(m, shards)

    def of_device(*whole: Any) -> Any:
        sums = [part(lax.axis_index(DATA) * share, share, *whole)] if share else []
        if rest:
            # every device adds up the examples that do not divide, and they count once
            sums.append(jax.tree.map(lambda s: s / shards, part(m - rest, rest, *whole)))
        # as one array: the devices wait for each other once
        flat, unravel = ravel_pytree(jax.tree.map(lambda *s: sum(s), *sums))
        return unravel(lax.psum(flat, DATA))

    return jax.shard_map(of_device, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False)(*whole)


def on_every_device(tree: Any, mesh: Mesh) -> Any:
    """The arrays of a tree on all devices of a mesh; on those of a CPU without a copy, as they share its memory."""
    sharding = NamedSharding(mesh, P())
    if not is_cpu(mesh):
        return jax.device_put(tree, sharding)
    leaves, structure = jax.tree.flatten(tree)
    elsewhere = [i for i, x in enumerate(leaves) if not lies_on(x, mesh)]
    on_host = [np.asarray(leaves[i]) for i in elsewhere]
    # all of them in one call for each device: one by one they take milliseconds
    pieces = [jax.device_put(on_host, device, may_alias=True) for device in mesh.local_devices]
    for i, x, *of_devices in zip(elsewhere, on_host, *pieces, strict=True):
        leaves[i] = jax.make_array_from_single_device_arrays(x.shape, sharding, of_devices)
    return jax.tree.unflatten(structure, leaves)


def lies_on(x: Any, mesh: Mesh | None) -> bool:
    """Whether x is an array that is sharded over the mesh, or whole on all of its devices."""
    return isinstance(x, jax.Array) and isinstance(x.sharding, NamedSharding) and x.sharding.mesh == mesh
