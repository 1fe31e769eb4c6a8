"""Times lowering and compiling of manual against autodiff gradients across depths."""

import argparse
from functools import partial

import jax

from benchmarks import measure, options
from benchmarks.compile import programs, table
from benchmarks.gradients.command import BOUNDS, labels
from benchmarks.gradients.table import line
from benchmarks.problem import equal_widths

QUICK = options.Plan(tuple(equal_widths(L, 64) for L in (5, 15)), (256,), seconds=4.0)
FULL = options.Plan(tuple(equal_widths(L, 64) for L in (5, 15, 30, 60)), (256,), seconds=45.0)
SUITE = measure.Suite(
    "compile", ("manual", "autodiff_rows", "control"), labels, BOUNDS, line, of_calls=programs.of_calls
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    quick = QUICK, "5 and 15 layers of width 64 at 256, under a minute on two cores"
    full = FULL, "5, 15, 30 and 60 layers of width 64 at 256, about four minutes on two cores"
    options.add_arguments(parser, quick, full, list(BOUNDS))


def run(args: argparse.Namespace) -> int:
    # what an earlier process left on disk would be read instead of compiled
    jax.config.update("jax_enable_compilation_cache", False)
    plan = options.plan(args)
    cells = [
        measure.Cell(
            {"part": part, "network": name, "sizes": list(sizes), "batch_size": m},
            partial(programs.programs, part, sizes, m, args.dtype),
        )
        for name, sizes in plan.networks
        for m in plan.batch_sizes
        for part in programs.PARTS
    ]
    rows, path = measure.run(SUITE, args, plan, cells)
    print(f"{table.page(rows)}\n{path}")
    return 1 if any(row["error"] for row in rows) else 0
