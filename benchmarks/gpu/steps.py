"""The steps, in the order of what they are worth, and the command of each."""

import sys
from pathlib import Path
from typing import NamedTuple

QUANTITIES = (
    "clipped_gradients clipped_gradients_written_out per_example_norms second_moment noise_scale gram_matrix "
    "hessian_product kfac_empirical"
)


class Step(NamedTuple):
    name: str
    share: int  # of the time; together they are the seconds that an H100 is expected to need at most
    command: list[str]
    precision: str = "default"  # of products of float32: TF32 on a GPU, unless this is "highest"


def steps(device: str, folder: Path) -> list[Step]:
    """All steps. On a CPU, which only rehearses them, networks and batches are small, and rounds few."""
    on_gpu = device == "gpu"

    def own(name: str, share: int) -> Step:
        module = f"benchmarks.gpu.{name}"
        return Step(name, share, [sys.executable, "-m", module, device, str(folder / f"{name}.jsonl")])

    def suite(name: str, share: int, command: str, cells: str, small: str, precision: str = "default") -> Step:
        cells = cells if on_gpu else f"{small} --repeats 6"
        argv = [*command.split(), *cells.split(), "--device", device, "--out", str(folder / f"{name}.jsonl")]
        return Step(name, share, [sys.executable, "-m", "benchmarks", *argv], precision)

    def cells(networks: str, batch_sizes: str) -> str:
        return f"--networks {networks} --batch-sizes {batch_sizes}"

    tiny = cells("12-8-3", "16")
    trained = "training --only step --programs manual_fused nnx torch_eager torch_graph"
    return [
        own("machine", 30),
        own("verification", 90),
        own("kernel", 50),
        suite("gradients-5x64", 70, "gradients", cells("5x64", "65536 1048576 1024 1 16384"), tiny),
        suite("gradients-wide", 50, "gradients", cells("784-512-512-10", "65536 256 4096"), tiny),
        suite(
            "gradients-bfloat16",
            40,
            "gradients --dtype bfloat16",
            cells("4096-4096-4096-4096 5x64", "8192 65536"),
            tiny,
        ),
        suite("training", 80, trained, cells("784-128-10 5x64", "128 2048"), tiny),
        suite("quantities", 70, f"quantities --only {QUANTITIES}", cells("784-512-512-10", "256 1024"), tiny),
        suite("back-to-back", 30, "gradients --calls 64", cells("5x64 784-128-10", "1 128 1024"), tiny),
        suite("gradients-highest", 30, "gradients", cells("5x64 784-512-512-10", "65536"), tiny, "highest"),
        suite("blocks", 20, "gradients --block-size", f"65536 {cells('5x64', '1048576')}", f"4 {tiny}"),
        own("memory", 20),
        suite(
            "training-compiled",
            20,
            "training --only step --programs torch_compile",
            cells("784-128-10", "128 2048"),
            tiny,
        ),
    ]


NAMES = [step.name for step in steps("gpu", Path())]
