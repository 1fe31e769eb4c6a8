"""The gradient by autodiff, block by block and over several devices: the strongest form of the baseline."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from reference import autodiff
from reference.autodiff import Model, Params


def value_and_grad(model: Model, block: int) -> Callable[[Params, Array, Array], tuple[Array, Any]]:
    """(params, X, Y) -> (cost, gradient) for examples in columns, the sum over blocks in a scan.

    The examples that do not fill a block are taken first.
    """

    def value_and_grad(params: Params, X: Array, Y: Array) -> tuple[Array, Any]:
        m = X.shape[1]
        rest = m % block

        def share(start: Array | int, size: int) -> Any:
            x, y = (lax.dynamic_slice_in_dim(data, start, size, axis=-1) for data in (X, Y))
            return jax.value_and_grad(lambda p: autodiff.cost(model, p, x, y) * (size / m))(params)

        def add(total: Any, i: Array) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, share(rest + i * block, block)), None

        start = share(0, rest) if rest else (jnp.zeros((), X.dtype), jax.tree.map(jnp.zeros_like, params))
        return lax.scan(add, start, jnp.arange(m // block))[0]

    return value_and_grad


def value_and_grad_over(mesh: Mesh, model: Model, block: int) -> Callable[[Params, Array, Array], tuple[Array, Any]]:
    """The same function for examples spread evenly over a mesh: the mean of the devices' means."""
    axis, of_shard = mesh.axis_names[0], value_and_grad(model, block)

    def mean(params: Params, X: Array, Y: Array) -> tuple[Array, Any]:
        return jax.tree.map(lambda x: lax.pmean(x, axis), of_shard(params, X, Y))

    return jax.shard_map(mean, mesh=mesh, in_specs=(P(), P(None, axis), P(axis)), out_specs=P(), check_vma=False)
