"""Times manual against autodiff gradients across batch sizes, with memory and compile time."""

import argparse
import sys
from typing import Any

import manual_bp as bp
from benchmarks import measure, options, plans
from benchmarks.environment import INSTALL_PEERS, UsageError, is_here
from benchmarks.gradients import plots, programs, table
from benchmarks.suite import Suite, cells_of

# Rounding alone stays below 1e-5 in float32. But a ReLU unit whose input is within rounding of 0 may be active in one
# program and not in the other. If a fraction f of the units is so close, some 1e-6 in float32, the gradient of m
# examples moves by sqrt(f / m) if the examples mostly agree, as those with inputs in [0, 1) do, and by sqrt(f) if their
# gradients point in random directions. In float64, f < 1e-15. bfloat16 has 8 bits, and autodiff adds up in it: 8 units
# in the last place are allowed, 2 were seen.
BOUNDS = {"float32": 1e-3, "float64": 1e-12, "bfloat16": 8 * 2**-8}


def labels(result: tuple[Any, Any]) -> list[str]:
    return ["cost"] + [f"d{name}[{l}]" for l in range(1, len(result[1]) + 1) for name in ("W", "b")]


SUITE = Suite(
    "gradients",
    ("manual", "autodiff_rows", "autodiff_blocks", "manual_one_device", "control", *programs.PEERS),
    labels,
    BOUNDS,
    table.ratio,
    table.line,
    table.page,
    plots.draw,
    "time, ratio and memory by size",
    ("manual", "autodiff_rows", "control"),
    ("fused",),
    ending=table.ending,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_arguments(parser, plans.GRADIENTS, list(BOUNDS))
    options.add_random(parser)
    parser.add_argument(
        "--cores",
        action="store_true",
        help="use the CPU's cores as devices, over which manual distributes the blocks of large batches (from about "
        "30,000 examples)",
    )
    parser.add_argument(
        "--block-size",
        type=options.positive,
        metavar="N",
        help="manual takes N examples at a time (default: as it chooses)",
    )
    parser.add_argument(
        "--calls",
        type=options.positive,
        default=1,
        metavar="N",
        help="time N calls in a row, waited for at their end: one alone is mostly the way to a GPU and back",
    )
    parser.add_argument(
        "--peers",
        action="store_true",
        help="also time PyTorch, eager and compiled, in float32; its threads disturb the other times",
    )


def run(args: argparse.Namespace) -> int:
    plan = options.chosen_plan(args, plans.GRADIENTS)
    if args.peers and args.dtype != "float32":
        raise UsageError(f"--peers compares in float32; it was given with --dtype {args.dtype}")
    if args.peers and args.calls > 1:
        raise UsageError("--peers waits for each call; it was given with --calls")
    if args.peers and any(of.activations for of, _ in plan.points):
        raise UsageError("--peers have ReLU in the hidden layers and softmax at the output; a network here has others")
    if args.cores and args.block_size:
        raise UsageError("--cores takes blocks of its own; it was given with --block-size")
    if args.peers and not is_here("torch"):
        print(f"torch is not installed and will not be timed: {INSTALL_PEERS}", file=sys.stderr)
    mesh = bp.use_cpu_devices() if args.cores else None
    cells = cells_of(plan, programs.of_cell, args.dtype, args.peers, mesh, args.block_size, args.calls)
    return measure.run_suite(SUITE, args, plan, cells)
