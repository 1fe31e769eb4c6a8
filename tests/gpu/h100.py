"""A compile-only H100: the program that XLA makes for that GPU, on a machine without one."""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

# From its data sheet, in the fields that XLA's compiler asks for
DESCRIPTION = Path(__file__).with_name("h100.txtpb").read_text()
DEVICE = topologies.get_topology_desc(platform="cuda", target_config=DESCRIPTION, topology="1x1x1").devices[0]

# XLA takes the faster of two sorts of product by timing them on the GPU. Without one it has Triton's where they can be
# had; this makes them all cuBLAS's, with their epilogues
CUBLAS = {"xla_gpu_enable_triton_gemm": False}


class Program(NamedTuple):
    """A program for the H100.

    Attributes:
        lowered: what JAX gives the compiler, as StableHLO.
        text: what the compiler makes of it, as HLO.
        temp_bytes: the memory needed in addition to arguments and results.
        steps: what the GPU is told to do, a line each; what is indented below kCommandBuffer is one CUDA graph.
    """

    lowered: str
    text: str
    temp_bytes: int
    steps: list[str]


def abstract(tree: Any) -> Any:
    """The shapes and dtypes of a tree of arrays, on the H100."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=SingleDeviceSharding(DEVICE)), tree)


def compiled(function: Any, *args: Any, precision: str = "default", options: dict[str, Any] | None = None) -> Program:
    """Compile a function of `jax.jit` for arguments of these shapes, float32 products at a precision of JAX."""
    with jax.default_matmul_precision(precision), tempfile.TemporaryDirectory() as folder:
        lowered = function.lower(*abstract(args))
        executable = lowered.compile(compiler_options={**(options or {}), "xla_dump_to": folder})
        *_, steps = sorted(Path(folder).glob("*.thunk_sequence*.txt"))
        found = steps.read_text().splitlines()
    return Program(lowered.as_text(), executable.as_text(), executable.memory_analysis().temp_size_in_bytes, found)
