"""Times what the backward pass gives beside the gradient against autodiff, and against the plain gradient."""

import argparse
from functools import partial
from typing import Any

import jax

from benchmarks import measure, options
from benchmarks.environment import UsageError
from benchmarks.problem import NETWORKS
from benchmarks.quantities import programs, table
from benchmarks.quantities.programs import QUANTITIES

QUICK = options.Plan((("784-512-512-10", NETWORKS["784-512-512-10"]),), (256,), seconds=1.0)
FULL = options.Plan(
    tuple((name, NETWORKS[name]) for name in ("784-128-10", "784-512-512-10", "5x64")), (32, 256, 2048), seconds=5.0
)


def labels(result: Any) -> list[str]:
    if isinstance(result, jax.Array):
        return ["value"]
    return [f"{field}[{l}]" for l, layer in enumerate(result, 1) for field in layer._fields]


SUITE = measure.Suite(
    "quantities",
    compared=("manual",),
    labels=labels,
    # as in `gradients.command`, but for differences of sums, which lose a digit
    bounds={"float32": 1e-3, "float64": 1e-11},
    line=table.line,
    bytes_allowed=6e9,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    quick = QUICK, "784-512-512-10 at 256, under a minute on two cores"
    full = FULL, "three networks at 32, 256 and 2,048, about half an hour on two cores"
    options.add_arguments(parser, quick, full, list(SUITE.bounds))
    parser.add_argument(
        "--only",
        nargs="+",
        type=quantity,
        metavar="NAME",
        default=list(QUANTITIES),
        help=f"any of {', '.join(QUANTITIES)} (default: all)",
    )


def quantity(text: str) -> str:
    """The name of a quantity given on the command line."""
    if text not in QUANTITIES:
        raise argparse.ArgumentTypeError(f"unknown quantity {text!r}; expected any of {', '.join(QUANTITIES)}")
    return text


def run(args: argparse.Namespace) -> int:
    plan = options.plan(args)
    cells = [
        measure.Cell(
            {"quantity": name, "network": network, "sizes": list(sizes), "batch_size": m},
            partial(programs.programs, name, sizes, m, args.dtype),
        )
        for network, sizes in plan.networks
        for m in plan.batch_sizes
        for name in args.only
        if m >= QUANTITIES[name].least
    ]
    if not cells:
        least = ", ".join(f"{name} {QUANTITIES[name].least}" for name in args.only)
        raise UsageError(f"no batch size is large enough; the least is for {least}")
    rows, path = measure.run(SUITE, args, plan, cells)
    print(f"{table.page(rows)}\n{path}")
    return 1 if any(row["error"] for row in rows) else 0
