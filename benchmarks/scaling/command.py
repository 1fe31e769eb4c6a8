"""Times how gradients, manual and by autodiff, grow with batch size, width and depth."""

import argparse
from functools import partial

from benchmarks import measure, options
from benchmarks.gradients import programs as gradients
from benchmarks.gradients.command import BOUNDS, labels
from benchmarks.problem import NETWORKS, Program, draw, equal_widths
from benchmarks.scaling import table

BATCH_SIZE = 256  # of the networks that are wider or deeper
LAYERS = 4  # of those that are wider
WIDTH = 64  # of those that are deeper
FIVE = (("5x64", NETWORKS["5x64"]),)
QUICK = options.Plan(FIVE, (1, 64, 1024, 4096, 16384), 1.0, widths=(16, 64, 256, 512, 1024), depths=(2, 8, 32, 64))
FULL = options.Plan(
    FIVE,
    tuple(4**k for k in range(9)),
    seconds=10.0,
    widths=tuple(2**k for k in range(4, 12)),
    depths=tuple(2**k for k in range(1, 7)),
)
SUITE = measure.Suite("scaling", table.PROGRAMS, labels, BOUNDS, table.line)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    quick = QUICK, "batch sizes to 16,384, widths to 1,024, depths to 64, under a minute on two cores"
    full = FULL, "batch sizes to 65,536, widths to 2,048, depths to 64, about six minutes on two cores"
    options.add_arguments(parser, quick, full, list(BOUNDS))
    for name, letter in (("widths", "N"), ("depths", "L")):
        parser.add_argument(
            f"--{name}", nargs="+", type=options.positive, metavar=letter, help="instead of the usual ones"
        )


def run(args: argparse.Namespace) -> int:
    plan = options.plan(args)
    plan = plan._replace(widths=tuple(args.widths or plan.widths), depths=tuple(args.depths or plan.depths))
    varied = [("batch_size", network, m) for network in plan.networks for m in plan.batch_sizes]
    varied += [("width", equal_widths(LAYERS, width), BATCH_SIZE) for width in plan.widths]
    varied += [("depth", equal_widths(depth, WIDTH), BATCH_SIZE) for depth in plan.depths]
    cells = [
        measure.Cell(
            {"part": part, "network": name, "sizes": list(sizes), "batch_size": m},
            partial(programs, sizes, m, args.dtype),
        )
        for part, (name, sizes), m in dict.fromkeys(varied)  # a size given twice is one point
    ]
    rows, path = measure.run(SUITE, args, plan, cells)
    print(f"{table.page(rows)}\n{path}")
    return 1 if any(row["error"] for row in rows) else 0


def programs(sizes: tuple[int, ...], batch_size: int, dtype: str) -> dict[str, Program]:
    """Those of the suite `gradients` that keep examples in columns."""
    made = gradients.always(draw(sizes, batch_size, dtype))
    return {name: made[name] for name in table.PROGRAMS}
