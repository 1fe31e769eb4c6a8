"""The GPU that the kernel is compiled for."""

import dataclasses
import functools
from typing import Any

import jax


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


def chip_of(device: Any) -> Chip:
    """The chip of a device of JAX."""
    return Chip(device.compute_capability, device.core_count, device.shared_memory_per_block_optin)


@functools.cache
def chip_here() -> Chip | None:
    """The chip of this process's first NVIDIA GPU; None if there is none, and with it no call target for the kernel."""
    try:
        return chip_of(jax.local_devices(backend="cuda")[0])
    except RuntimeError:
        return None
