"""Times manual against autodiff gradients across batch sizes."""

import argparse
import sys
from functools import partial
from typing import Any

import manual_bp as bp
from benchmarks import measure, options
from benchmarks.environment import INSTALL_PEERS, UsageError, is_here
from benchmarks.gradients import programs, table
from benchmarks.problem import NETWORKS

# At its largest cell (1024-1024-1024-1024, 65,536 examples) a round takes 20 s on two cores: eight rounds then, and an
# interval as wide as eight rounds make it
FULL = options.Plan(tuple(NETWORKS.items()), tuple(4**k for k in range(9)), seconds=6.0)
QUICK = options.Plan(tuple(NETWORKS.items()), (1, 16, 1024), seconds=1.0)

# Rounding alone stays below 1e-5 in float32, but a ReLU unit within rounding of its kink is on in one program and off
# in the other: with f of the units there, some 1e-6 in float32, a gradient that averages m examples which mostly agree,
# as these with inputs in [0, 1) do, moves by sqrt(f / m), and one of random directions by sqrt(f). float64 meets no
# kink (f < 1e-15). bfloat16 has 8 bits, and autodiff adds up in it: 8 units in the last place, against 2 seen.
BOUNDS = {"float32": 1e-3, "float64": 1e-12, "bfloat16": 8 * 2**-8}


def labels(result: tuple[Any, Any]) -> list[str]:
    return ["cost"] + [f"d{name}[{l}]" for l in range(1, len(result[1]) + 1) for name in ("W", "b")]


SUITE = measure.Suite(
    "gradients",
    ("manual", "autodiff_rows", "autodiff_blocks", "manual_one_device", "control", *programs.PEERS),
    labels,
    BOUNDS,
    table.line,
    ("manual", "autodiff_rows", "control"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    quick = QUICK, "batch sizes 1, 16 and 1,024, under a minute on two cores"
    full = FULL, "batch sizes 1 to 65,536, about ten minutes on two cores"
    options.add_arguments(parser, quick, full, list(BOUNDS))
    parser.add_argument(
        "--cores",
        action="store_true",
        help="make the CPU's cores devices, over which manual shares out what it takes in blocks (from about 30,000 "
        "examples on)",
    )
    parser.add_argument(
        "--peers",
        action="store_true",
        help="also time PyTorch, eager and compiled, in float32; its threads disturb the times of the others",
    )


def run(args: argparse.Namespace) -> int:
    plan = options.plan(args)
    if args.peers and args.dtype != "float32":
        raise UsageError(f"--peers compares in float32; it was asked for with --dtype {args.dtype}")
    if args.peers and not is_here("torch"):
        print(f"without torch, which is not run: {INSTALL_PEERS}", file=sys.stderr)
    mesh = bp.use_cpu_devices() if args.cores else None
    cells = [
        measure.Cell(
            {"network": name, "sizes": list(sizes), "batch_size": m},
            partial(programs.programs, sizes, m, args.dtype, args.peers, mesh),
        )
        for name, sizes in plan.networks
        for m in plan.batch_sizes
    ]
    rows, path = measure.run(SUITE, args, plan, cells)
    print(f"{table.times(rows)}\n\n{table.others(rows)}{table.NOTES}\n{table.summary(rows)}\n\n{path}")
    return 1 if any(row["error"] for row in rows) else 0
