"""The call of a kernel in PTX by XLA."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

TARGET = "__gpu$xla.gpu.ptx"
THREADS = 256


def call(ptx: str, blocks: int, shared_bytes: int, results: Any, output_indices: Sequence[int]) -> Callable[..., Any]:
    """The kernel `fused` as a function of arrays; its arguments are these and then the results."""
    # the launch in the words of XLA, which reads them as an attribute of MLIR
    entries = {
        "name": '"fused"',
        "kernel_type": '"ptx"',
        "kernel_data": _quoted(ptx),
        "grid_x": f"{blocks} : i32",
        "grid_y": "1 : i32",
        "grid_z": "1 : i32",
        "block_x": f"{THREADS} : i32",
        "block_y": "1 : i32",
        "block_z": "1 : i32",
        "shared_mem_bytes": f"{shared_bytes} : i32",
        "output_indices": str(list(output_indices)),
    }
    config = "{" + ", ".join(f"{name} = {value}" for name, value in entries.items()) + "}"
    return jax.ffi.ffi_call(TARGET, results, custom_call_api_version=2, legacy_backend_config=config)


def _quoted(text: str) -> str:
    for character, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\0A"), ("\t", "\\09")):
        text = text.replace(character, escaped)
    return f'"{text}"'
