"""Devices as a user chooses them: the cores of a CPU, and where the arrays of a training lie on a mesh."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, PartitionSpec

from manual_bp._checks import arguments, numbers
from manual_bp._machine.devices import DATA
from manual_bp._machine.meshes import put_on_mesh
from manual_bp._network import Layer


def use_cpu_devices(count: int | None = None) -> Mesh:
    """Split the CPU into devices of JAX, one for each core by default, and return a mesh of them, with one axis "data".

    Call it before any other JAX call that needs a device. A later call with the same count returns the same mesh.
    Computations without the mesh run on the first device, as before; `bp.value_and_grad(network, mesh=mesh)` and
    `bp.train_epoch(..., mesh=mesh)` use all devices. With several devices `block_size="auto"` takes no blocks where
    there is no mesh, because the examples may be spread over the devices: give an integer to have blocks there.

    Args:
        count: the number of devices, 1 or more; by default the number of cores that the process may use.

    Raises:
        RuntimeError: JAX is initialised already, and not by this function with the same count.
        TypeError, ValueError: the count is not an integer, or is below 1.

    Example:
        >>> mesh = bp.use_cpu_devices(8)  # the first JAX call of the process
        >>> mesh.axis_names, mesh.size
        (('data',), 8)
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = cores if count is None else numbers.count("count", count)
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        raise RuntimeError(
            f"JAX is already initialised, and the number of its CPU devices is {len(jax.devices('cpu'))}; call "
            f"bp.use_cpu_devices({count}) in a fresh process, before any other JAX call"
        ) from None
    return jax.make_mesh((count,), (DATA,), axis_types=(AxisType.Auto,), devices=jax.devices("cpu"))


def place(tree: Any, mesh: Mesh, model_axis: str | None = None) -> Any:
    """Copy the arrays of a tree, such as a `bp.TrainState` or a `bp.Dataset`, to the devices of a mesh.

    Without `model_axis` every array lies whole on every device. With it, each device holds its share of the rows, the
    units of layer l, of W[l], b[l] and the arrays that an optimizer keeps in their form, such as Adam's moments. A
    layer whose rows do not divide by the size of that axis lies whole on every device too.

    With several processes each process calls this, with equal values. An array that lies in rows becomes whole again
    when it is placed without `model_axis`; every process can then read it.

    Args:
        tree: a pytree of arrays, of JAX (random keys included) or NumPy.
        mesh: a mesh of `jax.make_mesh`, its axes of type Auto or Explicit.
        model_axis: the name of one of its axes.

    Raises:
        TypeError, ValueError: a mesh of another type or without that axis; values that differ between processes.

    Example:
        >>> mesh = jax.make_mesh((1,), ("data",))
        >>> state = bp.train_state(bp.Network((2, 3, 1), output="sigmoid"), optax.sgd(0.1), jax.random.key(0))
        >>> state = bp.place(state, mesh)
        >>> state.params[0].W.sharding.mesh == mesh
        True
    """
    arguments.check_mesh(mesh)
    if model_axis is not None and model_axis not in mesh.axis_names:
        raise ValueError(
            f"model_axis is {model_axis!r}; expected None or an axis of the mesh, which has {arguments.axes_of(mesh)}"
        )

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
    return put_on_mesh(copied, mesh, jax.tree.map(specs, tree, is_leaf=lambda node: isinstance(node, Layer)))
