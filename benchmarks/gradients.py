"""Times manual against autodiff gradients across batch sizes.

Each cell, a network at a batch size: the gradients are compared, each program is lowered and compiled, then all are
timed in turns. The row is written as the cell is finished.
"""

import argparse
import datetime
import math
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import cases, environment, records, table, timing
from benchmarks.progress import Progress

RESULTS = Path(__file__).parent / "results"

# How far two programs may be apart, in norm over norm of each leaf. Rounding alone stays below 1e-5 in float32, but a
# ReLU unit within rounding of its kink is on in one program and off in the other: with f of the units there, some
# 1e-6 in float32, a gradient that averages m examples which mostly agree, as these with inputs in [0, 1) do, moves by
# sqrt(f / m), and one of random directions by sqrt(f). float64 meets no kink (f < 1e-15). bfloat16 has 8 bits, and
# autodiff adds up in it: 8 units in the last place, against 2 seen.
BOUNDS = {"float32": 1e-3, "float64": 1e-12, "bfloat16": 8 * 2**-8}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument(
        "--quick", action="store_true", help="batch sizes 1, 16 and 1,024, under a minute on two cores (default)"
    )
    extent.add_argument("--full", action="store_true", help="batch sizes 1 to 65,536, about ten minutes on two cores")
    parser.add_argument(
        "--networks",
        nargs="+",
        type=cases.network,
        metavar="NAME",
        default=list(cases.NETWORKS.items()),
        help=f"any of {', '.join(cases.NETWORKS)} (default: all), or sizes such as 12-8-3",
    )
    parser.add_argument("--batch-sizes", nargs="+", type=cases.positive, metavar="M", help="instead of the usual ones")
    parser.add_argument("--dtype", choices=list(BOUNDS), default="float32", help="default: float32")
    parser.add_argument("--repeats", type=cases.rounds, metavar="N", help="rounds per cell (default: as time allows)")
    parser.add_argument("--device", choices=("cpu", "gpu"), help="default: what JAX chooses")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="results file, appended to (default: a new one in benchmarks/results)"
    )


def run(args: argparse.Namespace) -> int:
    environment.require("rich")
    environment.select_device(args.device)
    plan = cases.FULL if args.full else cases.QUICK
    if args.repeats:
        plan = plan._replace(least=args.repeats, most=args.repeats)
    started = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    path = args.out or RESULTS / f"local-{jax.default_backend()}-{started}.jsonl"
    rows = []
    with jax.enable_x64(args.dtype == "float64"):
        here = environment.describe(args.dtype)
        records.prepare(path, here)
        common = {"environment": here, "matmul_flops_per_s": environment.matmul_flops(args.dtype)}
        cells = [(*network, m) for network in args.networks for m in args.batch_sizes or plan.batch_sizes]
        with Progress(len(cells)) as progress:
            for name, sizes, m in cells:
                progress.start(f"{name} at {m:,}")
                cell = measure(sizes, m, args.dtype, plan, progress)
                # in the order of records.FIELDS
                row = {"schema": records.SCHEMA, "suite": "gradients", "date": _now(), **common}
                row |= {"network": name, "sizes": list(sizes), "batch_size": m, **cell}
                records.append(path, row)
                rows.append(row)
                progress.finish(table.line(row))
    print(f"{table.times(rows)}\n\n{table.NOTES}\n{table.summary(rows)}\n\n{path}")
    return 1 if any(row["error"] for row in rows) else 0


def measure(sizes: tuple[int, ...], m: int, dtype: str, plan: cases.Plan, progress: Progress) -> dict[str, Any]:
    """What one cell adds to its row: errors, error, programs."""
    cell: dict[str, Any] = {"errors": {}, "error": None, "programs": {}}
    try:
        programs = cases.programs(sizes, m, dtype)
        prepared = {name: _prepare(program) for name, program in programs.items()}
        cell["errors"], cell["error"] = compare(programs, BOUNDS[dtype])
        if cell["error"] is None:
            times = timing.take_turns(dict(programs), plan.seconds, plan.least, plan.most, progress.tick)
            # five digits: finer than the clock's own scatter
            cell["programs"] = {
                name: before | {"times_s": [float(f"{t:.5g}") for t in times[name]]}
                for name, before in prepared.items()
            }
    except jax.errors.JaxRuntimeError as error:  # such as memory that does not suffice
        cell["error"] = str(error).splitlines()[0]
    return cell


def compare(programs: dict[str, cases.Program], bound: float) -> tuple[dict[str, dict[str, float | None]], str | None]:
    """Every program's cost and gradient against autodiff's: relative errors by leaf, and the first that is too large.

    A leaf is measured by its own norm, one that is zero by the norm of the whole gradient.
    """
    truth = programs["autodiff"]()
    labels = ["cost"] + [f"d{name}[{l}]" for l in range(1, len(truth[1]) + 1) for name in ("W", "b")]
    norms = [_norm(leaf) for leaf in jax.tree.leaves(truth)]
    whole = math.hypot(*norms[1:])
    errors, error = {}, None
    for name, program in programs.items():
        if name == "autodiff":
            continue
        result = program()
        if _kinds(result) != _kinds(truth):
            return errors, f"{name} and autodiff differ in structure, shapes or dtypes"
        leaves = zip(labels, norms, jax.tree.leaves(result), jax.tree.leaves(truth), strict=True)
        found = {label: _norm(a, b) / (norm or whole or 1.0) for label, norm, a, b in leaves}
        errors[name] = {label: e if math.isfinite(e) else None for label, e in found.items()}
        for label, e in found.items():
            if not e <= bound:
                error = error or f"{name} differs from autodiff: {label} by {e:.1e} in norm, {bound:.1e} allowed"
    return errors, error


def _prepare(program: cases.Program) -> dict[str, Any]:
    """Lowering and compiling, each timed, and the memory needed beside arguments and results."""
    start = time.perf_counter()
    lowered = program.function.lower(*program.args)
    middle = time.perf_counter()
    compiled = lowered.compile()
    stop = time.perf_counter()
    memory = compiled.memory_analysis()
    return {
        "lower_s": round(middle - start, 6),
        "compile_s": round(stop - middle, 6),
        "temp_bytes": memory.temp_size_in_bytes if memory else None,
    }


def _kinds(result: Any) -> tuple:
    return jax.tree.structure(result), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(result)]


def _norm(a: jax.Array, b: jax.Array | float = 0.0) -> float:
    """The norm of a - b, in float64."""
    return float(np.linalg.norm((np.asarray(a, np.float64) - np.asarray(b, np.float64)).ravel()))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
