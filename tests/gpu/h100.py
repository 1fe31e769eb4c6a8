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


class Program(NamedTuple):
    """A program for the H100.

    Attributes:
        lowered: what JAX gives the compiler, as StableHLO.
        text: what the compiler makes of it, as HLO.
        temp_bytes: the memory needed in addition to arguments and results.
    """

    lowered: str
    text: str
    temp_bytes: int


def abstract(tree: Any) -> Any:
    """The shapes and dtypes of a tree of arrays, on the H100."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=SingleDeviceSharding(DEVICE)), tree)


def compiled(function: Any, *args: Any, precision: str = "default", cublas: bool = False) -> Program:
    """Compile a function of `jax.jit` for arguments of these shapes, as JAX does with float32 at that precision.

    On a GPU XLA times the products of Triton and of cuBLAS, and takes the faster ones. Without a GPU it takes Triton's,
    or, if asked to, cuBLAS's, which may add a bias after the product.
    """
    lowered, executable = _compile(function, args, precision, {"xla_gpu_enable_triton_gemm": not cublas})
    return Program(lowered.as_text(), executable.as_text(), executable.memory_analysis().temp_size_in_bytes)


def steps(function: Any, *args: Any, precision: str = "default") -> list[str]:
    """The commands of the GPU, a line each; those indented below kCommandBuffer are one CUDA graph."""
    with tempfile.TemporaryDirectory() as folder:
        _compile(function, args, precision, {"xla_dump_to": folder})
        *_, last = sorted(Path(folder).glob("*.thunk_sequence*.txt"))
        return last.read_text().splitlines()


def _compile(function: Any, args: Any, precision: str, options: dict[str, Any]) -> tuple[Any, Any]:
    wide = any(x.dtype == "float64" for x in jax.tree.leaves(args))
    with jax.enable_x64(wide), jax.default_matmul_precision(precision):
        lowered = function.lower(*abstract(args))
        # The tests' level of optimization, 0, leaves ptxas with twice the work; other tests have the other cores
        always = {"xla_backend_optimization_level": 3, "xla_gpu_force_compilation_parallelism": 1}
        return lowered, lowered.compile(compiler_options=options | always)
