"""Times what the backward pass gives in addition to the gradient, against autodiff and against the plain gradient."""

import argparse
from functools import partial
from typing import Any

import jax

from benchmarks import measure, options, plans
from benchmarks.environment import UsageError
from benchmarks.quantities import plots, programs, table
from benchmarks.quantities.programs import QUANTITIES
from benchmarks.suite import Cell, Suite


def labels(result: Any) -> list[str]:
    if isinstance(result, jax.Array):
        return ["value"]
    return [f"{field}[{l}]" for l, layer in enumerate(result, 1) for field in layer._fields]


SUITE = Suite(
    "quantities",
    compared=("manual",),
    labels=labels,
    # as in `gradients.command`, but differences of sums lose a digit
    bounds={"float32": 1e-3, "float64": 1e-11},
    ratio=table.ratio,
    line=table.line,
    page=table.page,
    draw=plots.draw,
    picture="speed, memory and cost of each quantity",
    bytes_allowed=6e9,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_arguments(parser, plans.QUANTITIES, list(SUITE.bounds))
    parser.add_argument(
        "--only",
        nargs="+",
        type=quantity,
        metavar="NAME",
        default=list(QUANTITIES),
        help=f"measure only these, any of {', '.join(QUANTITIES)} (default: all)",
    )


def quantity(text: str) -> str:
    """Parse the name of a quantity."""
    if text not in QUANTITIES:
        raise argparse.ArgumentTypeError(f"unknown quantity {text!r}; expected any of {', '.join(QUANTITIES)}")
    return text


def run(args: argparse.Namespace) -> int:
    plan = options.chosen_plan(args, plans.QUANTITIES)
    cells = [
        Cell(
            {"quantity": name, "network": network, "sizes": list(sizes), "batch_size": m},
            partial(programs.of_cell, name, sizes, m, args.dtype),
        )
        for (network, sizes, *_), m in plan.points
        for name in args.only
        if m >= QUANTITIES[name].least
    ]
    if not cells:
        least = ", ".join(f"{name} needs {QUANTITIES[name].least}" for name in args.only)
        raise UsageError(f"no batch size is large enough: {least}")
    return measure.run_suite(SUITE, args, plan, cells)
