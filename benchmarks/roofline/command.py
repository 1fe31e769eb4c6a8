"""Times manual gradients against their limits: their matrix products alone, and a copy of the bytes they move."""

import argparse

from benchmarks import measure, options, plans
from benchmarks.gradients.command import BOUNDS
from benchmarks.roofline import plots, programs, table
from benchmarks.suite import Suite, cells_of


def labels(result: list) -> list[str]:
    return [f"dW[{l}]" for l in range(1, len(result) + 1)]


SUITE = Suite(
    "roofline",
    ("products", "products_transposed", "control"),
    labels,
    BOUNDS,
    table.ratio,
    table.line,
    table.page,
    plots.draw,
    "FLOP/s under the roofs of products and memory traffic",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_arguments(parser, plans.ROOFLINE, list(BOUNDS))


def run(args: argparse.Namespace) -> int:
    plan = options.chosen_plan(args, plans.ROOFLINE)
    return measure.run_suite(SUITE, args, plan, cells_of(plan, programs.of_cell, args.dtype))
