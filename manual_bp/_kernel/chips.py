"""The GPU that the kernel is compiled for."""

import dataclasses
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from manual_bp._kernel import launch

# A kernel that does nothing
NOTHING = """.version 7.0
.target sm_80
.address_size 64
.visible .entry fused(.param .u64 result) { ret; }
"""


@dataclasses.dataclass(frozen=True)
class Chip:
    """A GPU: its compute capability, such as "9.0", its processors, and the shared memory of a block in bytes."""

    capability: str
    processors: int
    shared_bytes: int

    @property
    def architecture(self) -> str:
        """The name in NVRTC's options, without "sm_" or "compute_"."""
        return self.capability.replace(".", "")


def chip_of(devices: Any) -> Chip:
    """The chip whose kernel all these devices of JAX run: the least of each number."""
    return Chip(
        min((device.compute_capability for device in devices), key=float),
        min(device.core_count for device in devices),
        min(device.shared_memory_per_block_optin for device in devices),
    )


@functools.cache
def chip_here() -> Chip | str:
    """The chip of this process's NVIDIA GPUs, or the reason why the kernel does not run here."""
    try:
        devices = jax.local_devices(backend="cuda")
    except RuntimeError:
        return "there is no NVIDIA GPU here"
    return chip_of(devices) if runs_ptx(devices[0]) else f"jax {jax.__version__} does not run kernels in PTX"


def runs_ptx(device: Any) -> bool:
    """Whether JAX has the call that runs the kernel, which is XLA's own and carries no promise to stay."""

    def compile_nothing() -> None:
        call = launch.call(NOTHING, 1, 0, jax.ShapeDtypeStruct((1,), jnp.float32), [0])
        jax.jit(lambda: call(), out_shardings=SingleDeviceSharding(device)).lower().compile()

    try:
        # in a thread, since the caller may be tracing for a mesh
        with ThreadPoolExecutor(1) as thread:
            thread.submit(compile_nothing).result()
    except jax.errors.JaxRuntimeError:
        return False
    return True
