"""The memory of a gradient, as compiled and as used: at once, in blocks, by autodiff and by the fused kernel."""

import sys
from collections.abc import Iterator
from typing import Any

import jax

import manual_bp as bp
from benchmarks import environment, fused
from benchmarks.gpu.rows import write_rows
from benchmarks.program import Compiled, autodiff_gradient, random_problem
from reference import autodiff

CELLS = (((64, 64, 64, 64, 64, 10), 1_048_576, 65_536), ((784, 512, 512, 10), 65_536, 4_096))
SMALL = (((12, 8, 3), 16, 4),)


def uses() -> Iterator[dict[str, Any]]:
    """A row for each program. The peak is the process's so far, so those that need least come first."""
    for sizes, m, block in CELLS if jax.default_backend() == "gpu" else SMALL:
        problem = random_problem(sizes, m, "float32")
        made = {
            "fused": fused.gradient(problem),
            "manual_blocks": Compiled(bp.value_and_grad(problem.network, block_size=block), problem.args),
            "manual": Compiled(bp.value_and_grad(problem.network, block_size=None), problem.args),
            "autodiff": Compiled(autodiff_gradient(autodiff.cost, problem.model), problem.args),
        }
        for name, program in made.items():
            found = {"not_run": program} if isinstance(program, str) else program.preparation
            row = {"network": "-".join(map(str, sizes)), "batch_size": m, "program": name, **found}
            if not isinstance(program, str) and "not_run" not in found:
                row["seconds"] = environment.fastest(program)
                row["peak_bytes"] = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
            yield row


if __name__ == "__main__":
    sys.exit(write_rows(uses))
