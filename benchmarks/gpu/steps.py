"""The steps, in the order of what they are worth, and the command of each."""

import sys
from pathlib import Path
from typing import NamedTuple


class Step(NamedTuple):
    name: str
    share: int  # of the time; together they are the seconds that an H100 is expected to need at most
    command: list[str]
    precision: str = "default"  # of products of float32: TF32 on a GPU, unless this is "highest"


# The suites that steps run: the seconds, the command, and the cells on a GPU
SUITES = {
    "gradients-5x64": (70, "gradients", "--networks 5x64 --batch-sizes 65536 1048576 1024 1 16384"),
    "gradients-wide": (50, "gradients", "--networks 784-512-512-10 --batch-sizes 65536 256 4096"),
    "gradients-bfloat16": (
        40,
        "gradients --dtype bfloat16",
        "--networks 4096-4096-4096-4096 5x64 --batch-sizes 8192 65536",
    ),
    "training": (
        80,
        "training --only step --programs manual_fused nnx torch_eager torch_graph",
        "--networks 784-128-10 5x64 --batch-sizes 128 2048",
    ),
    "quantities": (
        70,
        "quantities --only clipped_gradients per_example_norms",
        "clipped_gradients_written_out second_moment noise_scale gram_matrix hessian_product kfac_empirical "
        "--networks 784-512-512-10 --batch-sizes 256 1024",
    ),
    "back-to-back": (30, "gradients --calls 64", "--networks 5x64 784-128-10 --batch-sizes 1 128 1024"),
    "gradients-highest": (30, "gradients", "--networks 5x64 784-512-512-10 --batch-sizes 65536"),
    "blocks": (20, "gradients", "--block-size 65536 --networks 5x64 --batch-sizes 1048576"),
    "training-compiled": (
        20,
        "training --only step --programs torch_compile",
        "--networks 784-128-10 --batch-sizes 128 2048",
    ),
}
REHEARSAL = "--networks 12-8-3 --batch-sizes 16 --repeats 6"


def steps(device: str, folder: Path) -> list[Step]:
    """All steps. A CPU only rehearses them: its networks and batches are small, its rounds few.

    Its shares are equal, but for training, which compiles the most.
    """

    def own(name: str, share: int) -> Step:
        return Step(
            name, share, [sys.executable, "-m", f"benchmarks.gpu.{name}", device, str(folder / f"{name}.jsonl")]
        )

    def suite(name: str) -> Step:
        share, command, cells = SUITES[name]
        small = f"--block-size 4 {REHEARSAL}" if name == "blocks" else REHEARSAL
        argv = f"{command} {cells if device == 'gpu' else small} --device {device} --out".split()
        precision = "highest" if name == "gradients-highest" else "default"
        out = str(folder / f"{name}.jsonl")
        return Step(name, share, [sys.executable, "-m", "benchmarks", *argv, out], precision)

    first = [own("machine", 30), own("verification", 90), own("kernel", 50)]
    *others, last = map(suite, SUITES)
    found = [*first, *others, own("memory", 20), last]
    return found if device == "gpu" else [step._replace(share=1 + step.name.startswith("training")) for step in found]


NAMES = [step.name for step in steps("gpu", Path())]
