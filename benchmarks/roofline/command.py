"""Times manual gradients against their limits: their matrix products alone, and a copy of what they have to move."""

import argparse
from functools import partial

from benchmarks import measure, options
from benchmarks.gradients.command import BOUNDS
from benchmarks.problem import NETWORKS
from benchmarks.roofline import programs, table

QUICK = options.Plan(tuple(NETWORKS.items()), (16, 1024), seconds=1.0)
FULL = options.Plan(tuple(NETWORKS.items()), tuple(4**k for k in range(9)), seconds=6.0)


def labels(result: list) -> list[str]:
    return [f"dW[{l}]" for l in range(1, len(result) + 1)]


SUITE = measure.Suite("roofline", ("products", "products_transposed", "control"), labels, BOUNDS, table.line)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    quick = QUICK, "batch sizes 16 and 1,024, under a minute on two cores"
    full = FULL, "batch sizes 1 to 65,536, about six minutes on two cores"
    options.add_arguments(parser, quick, full, list(BOUNDS))


def run(args: argparse.Namespace) -> int:
    plan = options.plan(args)
    cells = [
        measure.Cell(
            {"network": name, "sizes": list(sizes), "batch_size": m},
            partial(programs.programs, sizes, m, args.dtype),
            reference="manual",
        )
        for name, sizes in plan.networks
        for m in plan.batch_sizes
    ]
    rows, path = measure.run(SUITE, args, plan, cells)
    print(f"{table.page(rows)}\n{path}")
    return 1 if any(row["error"] for row in rows) else 0
