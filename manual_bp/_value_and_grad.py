"""The gradient as a user asks for it: at once, block by block, or shared out over devices."""

import functools
from collections.abc import Callable

import jax
from jax.sharding import Mesh
from jaxtyping import Array

from manual_bp._checks import arguments as validate
from manual_bp._cores import value_and_grad_on_mesh
from manual_bp._machine.blocks import BlockSize, check_block_size, chosen
from manual_bp._machine.meshes import data_mesh
from manual_bp._network import Network, Params
from manual_bp._sums import cost_and_gradient


def value_and_grad(
    network: Network, *, block_size: BlockSize = "auto", mesh: Mesh | None = None
) -> Callable[..., tuple[Array, Params]]:
    """The function (params, X, Y, weights=None) -> (cost, gradient), compiled; its arguments are those of `bp.cost`.

    The gradient has the structure, shapes and dtype of the parameters: dW[l] = (dZ[l] * w) A[l-1]^T and
    db[l] = sum over examples of dZ[l] * w. The same arguments give the same function, so nothing is compiled twice.

    A gradient is a sum over examples, so it can be formed from some of them at a time. Then the memory needed is that
    of a block, whatever m is, and the block's activations stay in the cache.

    The rule for `jax.grad` belongs to `bp.cost`: differentiate that, not the cost returned here. Inside `shard_map`
    `bp.cost` and this function behave as autodiff does: the cost is that of the shard's own examples, and the gradient
    by parameters that all shards share is the sum of the shards' gradients. Where the shards hold equally many
    examples, the gradient of the whole is that sum over `jax.lax.axis_size`.

    Args:
        network: the description.
        block_size: examples at a time, 1 or more; the last block holds the rest. None always takes all at once. "auto"
            takes all at once while the activations, A of all layers and one dA, are at most 32 MiB; above that, on a
            CPU that is one device, blocks that fit the cache. With several devices and no mesh it always takes all at
            once. The shapes decide, so that the same call gives the same bits.
        mesh: with an axis "data", such as that of `bp.use_cpu_devices`, over whose devices the examples are shared
            out. Arguments are ordinary arrays, and so are cost and gradient, each on one device. With
            block_size="auto" what is taken at once is not shared out, since that does not pay. The function then is an
            ordinary one that calls what is compiled, without `lower`.

    Raises:
        TypeError, ValueError: a network, block_size or mesh of the wrong type or value; on a call, arguments as for
            `bp.cost`.
    """
    validate.is_network(network)
    block_size = check_block_size(block_size)
    if mesh is None:
        return _value_and_grad(network, block_size)
    data_mesh(mesh)
    return value_and_grad_on_mesh(network, block_size, mesh, at_once=_value_and_grad(network, None))


def grad(network: Network, *, block_size: BlockSize = "auto", mesh: Mesh | None = None) -> Callable[..., Params]:
    """The function (params, X, Y, weights=None) -> gradient, compiled; as `bp.value_and_grad` without the cost."""
    return _grad(value_and_grad(network, block_size=block_size, mesh=mesh), mesh is None)


@functools.lru_cache(maxsize=1024)
def _value_and_grad(network: Network, block_size: BlockSize) -> Callable[..., tuple[Array, Params]]:
    @jax.jit
    def value_and_grad(params: Params, X: Array, Y: Array, weights: Array | None = None) -> tuple[Array, Params]:
        params, X, Y, weights = validate.arguments(network, params, X, Y, weights)
        return cost_and_gradient(network, params, X, Y, weights, chosen(block_size, network, X))

    return value_and_grad


@functools.lru_cache(maxsize=1024)
def _grad(value_and_grad: Callable[..., tuple[Array, Params]], jitted: bool) -> Callable[..., Params]:
    def grad(params: Params, X: Array, Y: Array, weights: Array | None = None) -> Params:
        return value_and_grad(params, X, Y, weights)[1]

    return jax.jit(grad) if jitted else grad
