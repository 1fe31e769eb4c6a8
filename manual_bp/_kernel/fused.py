"""The cost and its gradient by the fused kernel, inside of a jitted function."""

import functools
import re
import warnings
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from manual_bp import _output as output
from manual_bp._costs import is_index
from manual_bp._kernel import launch, nvrtc, takes
from manual_bp._kernel.chips import Chip, chip_here
from manual_bp._kernel.packing import pack, unpack
from manual_bp._kernel.takes import TAKEN, Form
from manual_bp._machine.products import on_cpu, weight_gradient, weighted_input
from manual_bp._machine.sharding import mesh_of
from manual_bp._network import Network, Params

# The precisions of `jax.default_matmul_precision` for which XLA takes TF32 as well
TF32 = (None, "default", "fastest", "tensorfloat32", "TF32_TF32_F32")
# The version of PTX that drivers of CUDA 13.0 read. NVRTC may be newer than the driver, and writes its own
PTX_VERSION = (9, 0)


def cost_and_gradient(
    network: Network,
    params: Params,
    X: Array,
    Y: Array,
    weights: Array | None,
    like: Params,
    by_xla: Callable[..., tuple[Array, Params]],
) -> tuple[Array, Params]:
    """C and its gradient of checked arguments, the gradient in the dtypes of `like`.

    `by_xla` computes the same from (params, like, X, Y, weights). It is taken, with a warning, where the kernel cannot
    run.
    """
    chip, dtype = chip_here(), X.dtype
    if problem := takes.refusal(network, dtype, X.shape[1], chip if isinstance(chip, Chip) else None):
        raise ValueError(problem)
    if not isinstance(chip, Chip):
        _warn(chip)
        return by_xla(params, like, X, Y, weights)
    if not mesh_of(X, *jax.tree.leaves(params)).empty:
        raise ValueError(f"kernel='fused' has arrays on a mesh; expected {TAKEN}")
    form = takes.form_of(network, _precision(dtype), is_index(Y), weights is not None, chip)
    assert form is not None

    def by_kernel(params: Params, like: Params, X: Array, Y: Array, weights: Array | None) -> tuple[Array, Params]:
        kernel, (W, b) = _kernel(form, chip), pack(form, params)
        given = weighted_input(params[0].W, X) if form.is_wide else X
        rows, *dZ_1 = kernel(W, b, given, *_targets_and_weights(form, Y, weights))
        # the rows are added up in a fixed order, so that the same call gives the same bits
        c, grads, weight = unpack(form, jnp.sum(rows, axis=0))
        if form.is_wide:
            # an absent example, which the kernel selects out, may hold NaN, and 0 * NaN is NaN
            X = output.select(X, None if weights is None else weights != 0)
            grads = grads[0]._replace(W=weight_gradient(dZ_1[0], X, params[0].W)), *grads[1:]
        # where every example is absent, all sums are 0
        share = 1 / jnp.where(weight == 0, 1, weight)
        return (c * share).astype(dtype), jax.tree.map(lambda d, p: (d * share).astype(p.dtype), grads, like)

    return on_cpu(by_xla, by_kernel, params, like, X, Y, weights)


def _targets_and_weights(form: Form, Y: Array, weights: Array | None) -> tuple[Array, Array]:
    """Both as the kernel reads them: indices in 32 bits, none of which becomes a class by that, and some weights."""
    if form.indices and Y.dtype != jnp.int32:
        Y = jnp.clip(Y, -1, form.network.sizes[-1]).astype(jnp.int32)
    return Y, jnp.zeros((1, 1), jnp.float32) if weights is None else weights


@functools.cache
def _warn(reason: str) -> None:
    warnings.warn(f"kernel='fused' is not run, since {reason}: XLA computes the gradient", RuntimeWarning, stacklevel=2)


def _precision(dtype: jnp.dtype) -> str:
    if dtype == jnp.bfloat16:
        return "BFLOAT16"
    config: Any = jax.config
    return "TF32" if config.jax_default_matmul_precision in TF32 else "FLOAT32"


@functools.cache
def _kernel(form: Form, chip: Chip) -> Callable[..., Sequence[Array]]:
    """The kernel as a function of (W, b, X, Y, weights).

    It returns a row of sums for each block. If A[0] is wide, it takes W[1] A[0] for X, and dZ[1] is returned as well.
    """

    @jax.custom_batching.custom_vmap
    def kernel(W: Array, b: Array, X: Array, Y: Array, weights: Array) -> Sequence[Array]:
        m = X.shape[1]
        blocks = min(-(-m // form.tile), chip.processors)
        written, text = results(form, blocks, X), ptx(form, chip.architecture)
        call = launch.call(text, blocks, form.shared_bytes, written, range(6, 6 + len(written)))
        return call(W, b, X, Y, weights, jnp.full((1,), m, jnp.int32))

    @kernel.def_vmap
    def _(*_: Any) -> Any:
        raise ValueError(f"kernel='fused' is under jax.vmap; expected {TAKEN}")

    @jax.custom_jvp
    def undifferentiated(W: Array, b: Array, X: Array, Y: Array, weights: Array) -> Sequence[Array]:
        return kernel(W, b, X, Y, weights)

    @undifferentiated.defjvp
    def _(*_: Any) -> Any:
        raise ValueError(f"kernel='fused' is under jax.jvp or jax.grad; expected {TAKEN}")

    return undifferentiated


def results(form: Form, blocks: int, X: Array) -> list[jax.ShapeDtypeStruct]:
    """The shapes of what the kernel writes."""
    dZ_1 = [jax.ShapeDtypeStruct(X.shape, X.dtype)] if form.is_wide else []
    return [jax.ShapeDtypeStruct((blocks, form.row_size), jnp.float32), *dZ_1]


@functools.cache
def ptx(form: Form, architecture: str) -> str:
    """The kernel in PTX, for the driver to compile."""
    text = compiled(form, f"--gpu-architecture=compute_{architecture}")[0].rstrip(b"\0").decode()
    return re.sub(r"(?<=^\.version )(\d+)\.(\d+)", _readable, text, count=1, flags=re.M)


def _readable(version: re.Match[str]) -> str:
    return "{}.{}".format(*min((int(version[1]), int(version[2])), PTX_VERSION))


def compiled(form: Form, *options: str, result: str = "PTX") -> tuple[bytes, str]:
    """The kernel, and the compiler's log."""
    folder = resources.files("manual_bp._kernel")
    text = "".join(f"#define {name} {value}\n" for name, value in form.defines.items())
    text += (folder / "fused.cu").read_text()
    headers = {"hardware.cuh": (folder / "hardware.cuh").read_text()}
    return nvrtc.compile_text(text, headers, ["--std=c++17", *options], result)
