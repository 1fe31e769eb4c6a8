"""Times training by hand-written steps against autodiff with optax, Flax, PyTorch and scikit-learn."""

import argparse
import sys
from functools import partial
from typing import Any

from benchmarks import measure, options, plans
from benchmarks.environment import INSTALL_PEERS
from benchmarks.suite import Cell, Suite
from benchmarks.training import accuracy, ensemble, plots, programs, table, task

PARTS = ("step", "accuracy", "ensemble")
ALWAYS = ("manual", "optax_scan", "control")
ON_REQUEST = (*table.ON_GPU, "torch_compile")
MEMBERS = {"quick": (32,), "full": (8, 32, 128)}  # by plan: the numbers of networks in an ensemble


def labels(result: tuple[Any, Any]) -> list[str]:
    return ["cost"] + [f"{field}[{l}]" for l, layer in enumerate(result[1], 1) for field in layer._fields]


def bound(program: str, label: str) -> float:
    """The difference from the baseline that is allowed, in the costs of the first steps and in the parameters' changes.

    In the first four costs rounding stays below 1e-6. PyTorch's fused Adam, which rounds its constants to float32,
    differs by 5e-6, and scikit-learn's, which adds eps in another place (`in_sklearn`), by 3e-4. A learning rate that
    is wrong by a percent moves them by 8e-5 or more, the same examples in another order by 3e-3.

    After all steps the changes of a parameter, in float64 for the reason in `Training.result`, agree to 1e-13. In
    another order or without a step they differ by 1. Scikit-learn's differ by up to 0.77, only because of eps: with
    that in the same place they agree as the others do.
    """
    if label == "cost":
        return 1e-3 if program == "sklearn" else 2e-5
    return 0.8 if program == "sklearn" else 0.5


def tf32_bound(program: str, label: str) -> float:
    """The same where products are rounded to TF32: the costs are less exact, and the changes are those in float64."""
    return 1e-2 if label == "cost" else bound(program, label)


SUITE = Suite(
    "training",
    tuple(name for name in programs.TRAINERS if name not in table.ON_GPU),
    labels,
    {"float32": bound},
    table.ratio,
    table.line,
    table.page,
    plots.draw,
    "time of each program relative to manual",
    ("manual", "control"),
    table.ON_GPU,
    tf32_bound,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_arguments(parser, plans.TRAINING, list(SUITE.bounds))
    options.add_random(parser)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="measure only these (default: all)")
    parser.add_argument(
        "--programs",
        nargs="+",
        choices=programs.TRAINERS,
        metavar="NAME",
        help=f"in addition to {', '.join(ALWAYS)} time only these, any of {', '.join(programs.TRAINERS)} (default: all "
        "that run on a CPU, torch_compile only in the plan full)",
    )


def run(args: argparse.Namespace) -> int:
    plan, names = options.chosen_plan(args, plans.TRAINING), program_names(args)
    if missing := programs.absent(names):
        print(f"not installed, and not timed: {', '.join(missing)}; {INSTALL_PEERS}", file=sys.stderr)
    parts = ["step"] if args.random else [part for part in PARTS if part in args.only]
    if programs.absent(["sklearn"]) and parts != ["step"]:
        print(f"only the part step is measured, for lack of scikit-learn's digits: {INSTALL_PEERS}", file=sys.stderr)
        parts = [part for part in parts if part == "step"]
    cells = [cell for part in parts for cell in cells_of(part, args, plan, names)]
    return measure.run_suite(SUITE, args, plan, cells) if cells else 0


def program_names(args: argparse.Namespace) -> list[str]:
    """The names of the programs to run."""
    if args.random:
        return list(ALWAYS)
    if args.programs:
        return [name for name in programs.TRAINERS if name in (*ALWAYS, *args.programs)]
    also = ("torch_compile",) if args.plan == "full" else ()
    return [name for name in programs.TRAINERS if name not in ON_REQUEST or name in also]


def cells_of(part: str, args: argparse.Namespace, plan: plans.Plan, names: list[str]) -> list[Cell]:
    if part == "step":
        return [
            _cell(part, of, m, task.steps_of_a_call(m), partial(programs.steps, of.sizes, m, names, **of.activations))
            for of, m in plan.points
        ]
    of = accuracy if part == "accuracy" else ensemble
    network, m = plans.Network("-".join(map(str, of.SIZES)), of.SIZES), of.BATCH_SIZE
    if part == "accuracy":
        return [_cell(part, network, m, task.TRAINED_ON // m, partial(programs.to_accuracy, names))]
    return [
        _cell(part, network, m, task.TRAINED_ON // m, partial(ensemble.of_cell, n), members=n)
        for n in MEMBERS[args.plan]
    ]


def _cell(part: str, network: plans.Network, batch_size: int, steps: int, made: Any, members: int = 1) -> Cell:
    fields = {"part": part, "network": network.name, "sizes": list(network.sizes), "batch_size": batch_size}
    return Cell(fields | {"steps": steps, "members": members}, made)
