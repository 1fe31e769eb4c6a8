"""The cost and its hand-written gradient: of all examples at once, block by block, or shared out over devices."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import Mesh
from jaxtyping import Array

from manual_bp import _output as output
from manual_bp._checks import arguments
from manual_bp._cost_rule import cost_backward, cost_forward
from manual_bp._jit import jit
from manual_bp._kernel import fused
from manual_bp._kernel.takes import Kernel, check_option
from manual_bp._machine import blocks, devices
from manual_bp._machine.precision import accumulator
from manual_bp._machine.sharding import as_cotangent, varying_like
from manual_bp._network import Network, Params


def value_and_grad(
    network: Network, *, block_size: blocks.BlockSize = "auto", mesh: Mesh | None = None, kernel: Kernel = "auto"
) -> Callable[..., tuple[Array, Params]]:
    """Make the compiled function (params, X, Y, weights=None) -> (cost, gradient), with the arguments of `bp.cost`.

    The gradient has the structure, shapes and dtype of the parameters: dW[l] = (dZ[l] * w) A[l-1]^T and
    db[l] = sum over examples of dZ[l] * w. The same arguments give the same function, so nothing is compiled twice.

    A gradient is a sum over examples, so it can be computed from a block of examples at a time. The memory needed is
    then that of a block, whatever m is, and the activations of the block stay in the cache.

    To differentiate the cost, use `bp.cost`, not the cost returned here. Inside `shard_map`, `bp.cost` and this
    function behave as autodiff does: the cost is that of the shard's own examples, and the gradient with respect to
    parameters that all shards share is the sum of the shards' gradients. If the shards hold equally many examples, the
    gradient of the whole is that sum over `jax.lax.axis_size`.

    Args:
        network: the description.
        block_size: the examples in a block, 1 or more; the last block holds the rest. None takes all examples at once.
            "auto" takes all at once while the activations, A of all layers and one dA, need at most 32 MiB on a CPU and
            10 GB on a GPU. Above that, it takes blocks of up to 16 MiB on a CPU, or 156 MB on a GPU.
            With several devices of that kind and no mesh, it takes all at once. The choice depends only on shapes and
            the kind of device, so the same call gives the same bits.
        mesh: a mesh with an axis "data", such as that of `bp.use_cpu_devices`. Its devices share out the examples. The
            arguments are ordinary arrays, and so are the cost and the gradient, each on one device. With
            block_size="auto", examples that are taken at once are not shared out, because that would be slower. The
            function is then an ordinary one that calls compiled code, without `lower`.
        kernel: "fused" computes the gradient of a narrow network in one kernel of an NVIDIA GPU of compute capability
            8.0 or more (extra `cuda13`). It takes up to 16 hidden layers of up to 128 units, fewer where they are wide,
            and up to 32 outputs; identity, sigmoid, tanh, relu, leaky_relu, elu, and softmax at the output; the
            library's costs; float32, with products in TF32 unless `jax.default_matmul_precision` asks for more, and
            bfloat16. With more than 128 inputs, XLA computes W[1] X before the kernel and dW[1] after it. It refuses a
            mesh, `jax.vmap` and `jax.grad`. It has been compiled and emulated, and has never run on a GPU. Without a
            GPU, or with a JAX that cannot call the kernel, XLA computes the gradient, with a warning. "auto" takes the
            kernel where it was measured to be faster: nowhere so far.

    Raises:
        TypeError, ValueError: a network, block_size, mesh or kernel of the wrong type or value; on a call, arguments as
            for `bp.cost`, or a network that the fused kernel does not take.
        ImportError: on the first call, the extra `cuda13` is needed for the fused kernel and missing.

    Example:
        >>> network = bp.Network((2, 3, 4))
        >>> params = bp.init(network, jax.random.key(0))
        >>> cost, grads = bp.value_and_grad(network)(params, jnp.ones((2, 5)), jnp.arange(5) % 4)
        >>> grads[1].W.shape == params[1].W.shape
        True
    """
    arguments.check_network(network)
    block_size = arguments.check_block_size(block_size)
    arguments.check_data_mesh(mesh)
    check_option(kernel, mesh, block_size)
    if mesh is None:
        return _value_and_grad(network, block_size, kernel)
    return _on_mesh(network, block_size, mesh, at_once=_value_and_grad(network, None, "auto"))


def grad(
    network: Network, *, block_size: blocks.BlockSize = "auto", mesh: Mesh | None = None, kernel: Kernel = "auto"
) -> Callable[..., Params]:
    """Make the compiled function (params, X, Y, weights=None) -> gradient: `bp.value_and_grad` without the cost.

    Args, Raises: those of `bp.value_and_grad`.

    Example:
        >>> network = bp.Network((2, 3, 4))
        >>> params = bp.init(network, jax.random.key(0))
        >>> grads = bp.grad(network)(params, jnp.ones((2, 5)), jnp.arange(5) % 4)
        >>> [dW.shape for dW, db in grads]
        [(3, 2), (4, 3)]
    """
    return _grad(value_and_grad(network, block_size=block_size, mesh=mesh, kernel=kernel), mesh is None)


@functools.lru_cache(maxsize=1024)
def _value_and_grad(
    network: Network, block_size: blocks.BlockSize, kernel: Kernel
) -> Callable[..., tuple[Array, Params]]:
    @jit
    def value_and_grad(params: Params, X: Array, Y: Array, weights: Array | None = None) -> tuple[Array, Params]:
        args = arguments.checked(network, params, X, Y, weights)
        return cost_and_gradient(network, *args, block_size, kernel=kernel)

    return value_and_grad


@functools.lru_cache(maxsize=1024)
def _grad(value_and_grad: Callable[..., tuple[Array, Params]], jitted: bool) -> Callable[..., Params]:
    def grad(params: Params, X: Array, Y: Array, weights: Array | None = None) -> Params:
        return value_and_grad(params, X, Y, weights)[1]

    grad.__qualname__ = "grad"
    return jit(grad) if jitted else grad


def cost_and_gradient(
    network: Network,
    params: Params,
    X: Array,
    Y: Array,
    weights: Array | None,
    block_size: blocks.BlockSize,
    like: Params | None = None,
    X_in_rows: bool = False,
    kernel: Kernel = "auto",
) -> tuple[Array, Params]:
    """C and its gradient of checked arguments, the gradient in the dtypes of `like`."""
    like = params if like is None else like

    def at_once(params: Params, like: Params, X: Array, Y: Array, weights: Array | None) -> tuple[Array, Params]:
        c, residuals = cost_forward(network, params, X, Y, weights, X_in_rows)
        return c, cost_backward(network, residuals, 1.0, like, X_in_rows)[0]

    def in_blocks(
        size: int, params: Params, like: Params, X: Array, Y: Array, weights: Array | None
    ) -> tuple[Array, Params]:
        c, sums = partial_sums(network, params, X, Y, weights, size, like, X_in_rows)
        return c.astype(X.dtype), jax.tree.map(lambda d, p: as_cotangent(d.astype(p.dtype), p), sums, like)

    by_xla = blocks.in_blocks_or_at_once(block_size, network.kept, X, in_blocks, at_once)
    if kernel == "fused":
        return fused.cost_and_gradient(network, params, X, Y, weights, like, by_xla)
    return by_xla(params, like, X, Y, weights)


def partial_sums(
    network: Network,
    params: Params,
    X: Array,
    Y: Array,
    weights: Array | None,
    size: int,
    like: Params,
    X_in_rows: bool = False,
    part: tuple[Any, int] | None = None,
) -> tuple[Array, Params]:
    """The terms of C and of its gradient that come from a part of the examples, (first, number), in float32 at least.

    Each block's cost is scaled by its weight over the total weight of all examples.
    """
    # In the dtype of sums; and each shard's own inside shard_map, so that the shards are added up once, by the caller
    like = jax.tree.map(lambda p: varying_like(p.astype(accumulator(p.dtype)), X), like)
    normalizer = output.normalizer(weights, X.shape[1])

    def of_block(X: Array, Y: Array, weights: Array | None) -> tuple[Array, Params]:
        share = normalizer * (X.shape[1] if weights is None else jnp.sum(weights))
        _, residuals = cost_forward(network, params, X, Y, weights, X_in_rows)
        *_, c = residuals
        return share * c, cost_backward(network, residuals, share, like, X_in_rows)[0]

    return blocks.over_blocks(of_block, (X, Y, weights), size, part=part)


@functools.lru_cache(maxsize=256)
def _on_mesh(
    network: Network, block_size: blocks.BlockSize, mesh: Mesh, at_once: Callable[..., tuple[Array, Params]]
) -> Callable[..., tuple[Array, Params]]:
    """The function (params, X, Y, weights=None) -> (cost, gradient), computed by all devices of the mesh.

    `at_once` is the same function without mesh and blocks; "auto" calls it where sharing out does not pay.
    """
    if mesh.is_multi_process:
        raise ValueError(f"mesh has devices of {jax.process_count()} processes; expected those of one")

    def shared_out(params: Params, X: Array, Y: Array, weights: Array | None, size: int) -> tuple[Array, Params]:
        def part(first: Any, number: int, params: Params, X: Array, Y: Array, weights: Array | None) -> Any:
            return partial_sums(network, params, X, Y, weights, size, params, part=(first, number))

        c, sums = devices.sum_over_devices(part, mesh, X.shape[1], params, X, Y, weights)
        return c.astype(X.dtype), jax.tree.map(lambda d, p: d.astype(p.dtype), sums, params)

    compiled = jax.jit(shared_out, static_argnums=4)
    # Checking arguments takes milliseconds: once for the shapes and dtypes that the check returns as they are
    checked = arguments.Remembered(network)

    def value_and_grad(params: Params, X: Array, Y: Array, weights: Array | None = None) -> tuple[Array, Params]:
        size = block_size
        if size == "auto":
            size = _size_on_mesh(network, params, X) if devices.is_cpu(mesh) else None
            if size is None:
                return at_once(params, X, Y, weights)
        args = checked(params, X, Y, weights)
        size = args[1].shape[1] if size is None else size
        if any(isinstance(x, Tracer) for x in jax.tree.leaves(args)):
            return compiled(*args, size)
        return jax.tree.map(lambda x: x.addressable_data(0), compiled(*devices.on_every_device(args, mesh), size))

    value_and_grad.__qualname__ = "value_and_grad"
    return value_and_grad


def _size_on_mesh(network: Network, params: Params, X: Array) -> int | None:
    """The block size that "auto" stands for; None where all are taken at once, or the call is about to refuse X.

    It looks only at what is cheap to know, since a call may take less time than checking its arguments here.
    """
    dtype = getattr(next(iter(jax.tree.leaves(params)), None), "dtype", None)
    m = np.shape(X)[1] if np.ndim(X) == 2 else 0
    if m == 0 or dtype is None:
        return None
    size = blocks.auto(np.shape(X), network.kept, dtype.itemsize)
    return None if size == m else size
