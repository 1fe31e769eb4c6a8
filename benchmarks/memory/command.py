"""What manual and autodiff gradients and steps need of memory, as the compiler says."""

import argparse
from typing import Any

import jax

from benchmarks import measure, options
from benchmarks.memory import programs, table
from benchmarks.problem import NETWORKS

MANY_CLASSES = (256, 256, 32768), 4096
FULL = options.Plan(tuple(NETWORKS.items()), tuple(4**k for k in range(9)), seconds=0.0)
QUICK = FULL._replace(batch_sizes=(64, 65536))
SUITE = measure.Suite("memory", (), lambda result: [], {"float32": 0.0, "float64": 0.0, "bfloat16": 0.0}, table.line)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    quick = QUICK, "four networks at 64 and 65,536, under a minute on two cores"
    full = FULL, "four networks at 1 to 65,536, about two minutes on two cores"
    options.add_arguments(parser, quick, full, list(SUITE.bounds), timed=False)


def run(args: argparse.Namespace) -> int:
    plan = options.plan(args)
    cells = [
        (part, *network, m) for network in plan.networks for m in plan.batch_sizes for part in ("gradient", "step")
    ]
    if not args.networks:
        sizes, m = MANY_CLASSES
        cells.append(("many_classes", "-".join(map(str, sizes)), sizes, m))
    made = [
        measure.Cell({"part": part, "network": name, "sizes": list(sizes), "batch_size": m}, dict)
        for part, name, sizes, m in cells
    ]
    rows, path = measure.run(SUITE, args, plan, made, _needed)
    print(f"{table.page(rows)}\n{path}")
    return 1 if any(row["error"] for row in rows) else 0


def _needed(suite: measure.Suite, cell: measure.Cell, dtype: str, *_: Any) -> dict[str, Any]:
    """What a cell adds to its row."""
    fields = cell.fields
    try:
        found = programs.needed(fields["part"], tuple(fields["sizes"]), fields["batch_size"], dtype)
    except jax.errors.JaxRuntimeError as error:
        return {"error": str(error).splitlines()[0], "programs": {}}
    return {"error": None, "programs": found}
