"""Times training by hand-written steps against autodiff with optax, Flax, PyTorch and scikit-learn."""

import argparse
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks import measure, options
from benchmarks.environment import INSTALL_PEERS
from benchmarks.problem import NETWORKS, Measured
from benchmarks.training import accuracy, ensemble, programs, table, task

PARTS = ("step", "accuracy", "ensemble")
MEMBERS, QUICK_MEMBERS = (8, 32, 128), (32,)
QUICK = options.Plan((("784-128-10", NETWORKS["784-128-10"]),), (32, 128), seconds=2.0)
FULL = options.Plan(
    tuple((name, NETWORKS[name]) for name in ("784-128-10", "784-512-512-10", "5x64")), (32, 128, 512, 2048), 12.0
)


def labels(result: tuple[Any, Any]) -> list[str]:
    return ["cost"] + [f"{field}[{l}]" for l, layer in enumerate(result[1], 1) for field in layer._fields]


def bound(program: str, label: str) -> float:
    """How far a program may be from the reference: in the costs of its first steps, and in its change of a parameter.

    In the first four costs rounding stays below 1e-6; PyTorch's fused Adam, which rounds its constants to float32, is
    off by 5e-6, and scikit-learn's, with its eps in another place (`in_sklearn`), by 3e-4. A learning rate that is off
    by a percent moves them by 8e-5 or more, the same examples in another order by 3e-3.

    After all steps the changes of a parameter, in float64 for the reason that `Training.result` gives, agree to 1e-13;
    in another order or without a step they are apart by 1. Scikit-learn's are apart by up to 0.77, all of it eps: with
    that in the same place they agree as the others do.
    """
    if label == "cost":
        return 1e-3 if program == "sklearn" else 2e-5
    return 0.8 if program == "sklearn" else 0.5


SUITE = measure.Suite(
    "training", tuple(programs.TRAINERS), labels, {"float32": bound}, table.line, ("manual", "control")
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    quick = QUICK, "784-128-10 at 32 and 128, without torch_compile, under a minute on two cores"
    full = FULL, "three networks at 32, 128, 512 and 2,048, about ten minutes on two cores"
    options.add_arguments(parser, quick, full, list(SUITE.bounds))
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to measure (default: all)")
    parser.add_argument(
        "--programs",
        nargs="+",
        choices=[name for name in programs.TRAINERS if name not in programs.ALWAYS],
        metavar="NAME",
        help=f"which of the others to time, any of %(choices)s; {', '.join(programs.ALWAYS)} always are",
    )


def run(args: argparse.Namespace) -> int:
    plan, names = options.plan(args), chosen(args)
    if missing := programs.absent(names):
        print(f"without {', '.join(missing)}, whose programs are not run: {INSTALL_PEERS}", file=sys.stderr)
    parts = args.only
    if programs.absent(["sklearn"]) and set(parts) - {"step"}:
        print(f"without the digits of sklearn only the part step is measured: {INSTALL_PEERS}", file=sys.stderr)
        parts = [part for part in parts if part == "step"]
    cells = [cell for part in PARTS if part in parts for cell in cells_of(part, args, plan, names)]
    if not cells:
        return 0
    rows, path = measure.run(SUITE, args, plan, cells)
    print(f"{table.page(rows)}\n{path}")
    return 1 if any(row["error"] for row in rows) else 0


def chosen(args: argparse.Namespace) -> list[str]:
    """The names of the programs to run."""
    if args.programs:
        return [*programs.ALWAYS, *args.programs]
    return [name for name in programs.TRAINERS if args.plan is FULL or name != "torch_compile"]


def cells_of(part: str, args: argparse.Namespace, plan: options.Plan, names: list[str]) -> list[measure.Cell]:
    if part == "step":
        return [
            _cell(part, sizes, m, task.steps_of_a_call(m), partial(programs.steps, sizes, m, names), network=name)
            for name, sizes in plan.networks
            for m in plan.batch_sizes
        ]
    if part == "accuracy":
        sizes, m = accuracy.SIZES, accuracy.BATCH_SIZE
        return [_cell(part, sizes, m, task.TRAINED_ON // m, partial(programs.to_accuracy, names))]
    sizes, m = ensemble.SIZES, ensemble.BATCH_SIZE
    return [
        _cell(part, sizes, m, task.TRAINED_ON // m, partial(ensemble.programs, n), members=n, reference="one_by_one")
        for n in (MEMBERS if args.plan is FULL else QUICK_MEMBERS)
    ]


def _cell(
    part: str,
    sizes: tuple[int, ...],
    batch_size: int,
    steps: int,
    made: Callable[[], Mapping[str, Measured | str]],
    network: str | None = None,
    members: int = 1,
    reference: str = "optax_scan",
) -> measure.Cell:
    # in the order of records.FIELDS
    fields = {"part": part, "network": network or "-".join(map(str, sizes)), "sizes": list(sizes)}
    return measure.Cell(fields | {"batch_size": batch_size, "steps": steps, "members": members}, made, reference)
