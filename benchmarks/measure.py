"""The measurement of a suite, cell by cell.

In each cell the programs are lowered and compiled, their results are compared, and then all are timed in turns. The row
is written as soon as the cell is finished.
"""

import argparse
import datetime
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import environment, records, rows, timing
from benchmarks.plans import Plan
from benchmarks.program import Program
from benchmarks.progress import CellProgress

# The largest difference allowed, in norm over norm of each leaf: one for all, or a function of program and leaf
Bound = float | Callable[[str, str], float]


class Suite(NamedTuple):
    """Everything in which one suite differs from another."""

    name: str
    compared: tuple[str, ...]  # the programs that have to agree with the baseline
    labels: Callable[[Any], list[str]]  # the names of the leaves of a result
    bounds: Mapping[str, Bound]  # by dtype
    line: Callable[[records.Row], str]  # a timed cell in one line, without its name
    page: Callable[[Sequence[records.Row]], str]  # the report
    draw: Callable[[Sequence[records.Row]], Any]  # the figure, of rows that were timed
    picture: str  # describes the figure
    required: tuple[str, ...] = ()  # a cell in which one of these programs cannot run is not timed
    bytes_allowed: float = math.inf  # a baseline that needs more temporary memory is not run


class Cell(NamedTuple):
    """The fields that identify a cell, and a function that makes its programs."""

    fields: dict[str, Any]
    programs: Callable[[], Mapping[str, Program | str]]  # by name: a program, or the reason why there is none


def cells_of(plan: Plan, of_cell: Callable[..., Mapping[str, Any]], *args: Any) -> list[Cell]:
    """A cell for each point of the plan, with the programs of_cell(sizes, batch size, *args)."""
    return [
        Cell({"network": name, "sizes": list(sizes), "batch_size": m}, functools.partial(of_cell, sizes, m, *args))
        for (name, sizes), m in plan.points
    ]


def run_suite(suite: Suite, args: argparse.Namespace, plan: Plan, cells: list[Cell]) -> int:
    """Measure the cells, print the report, and return the exit status: 1 if a cell has an error."""
    environment.require("rich")
    environment.select_device(args.device)
    started = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    path: Path = args.out or records.RESULTS / f"local-{suite.name}-{jax.default_backend()}-{started}.jsonl"
    measured = []
    with jax.enable_x64(args.dtype == "float64"):
        here = environment.describe(args.dtype)
        records.prepare(path, suite.name, here)
        common = {
            "schema": records.SCHEMA,
            "suite": suite.name,
            "environment": here,
            "matmul_flops_per_s": environment.matmul_flops(args.dtype),
        }
        progress = CellProgress(len(cells))
        with progress.bar:
            for cell in cells:
                name = rows.name(cell.fields)
                progress.start(name)
                found = common | cell.fields | measure_cell(suite, cell, args.dtype, plan, progress.tick)
                found["date"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
                row = {field: found[field] for field in records.FIELDS[suite.name]}
                records.append(path, row)
                measured.append(row)
                progress.finish(f"{name}: {row['error'] or suite.line(row)}")
    print(f"{suite.page(measured)}\n\n{path}")
    return 1 if any(row["error"] for row in measured) else 0


def measure_cell(suite: Suite, cell: Cell, dtype: str, plan: Plan, tick: Callable[[float], None]) -> dict[str, Any]:
    """The fields that measuring a cell adds to its row: errors, error, others_cpu and programs."""
    found: dict[str, Any] = {"errors": {}, "error": None, "others_cpu": None, "programs": {}}
    baseline = rows.references({"suite": suite.name} | cell.fields).baseline
    try:
        made = cell.programs()
        prepared: dict[str, dict[str, Any]]
        prepared = {name: {"not_run": p} if isinstance(p, str) else p.preparation for name, p in made.items()}
        needed = prepared[baseline].get("temp_bytes") or 0
        if needed > suite.bytes_allowed:
            reason = f"{needed / 1e9:.3g} GB of temporary memory, {suite.bytes_allowed / 1e9:g} GB allowed"
            prepared[baseline] = prepared[baseline] | {"not_run": reason}
        programs = {n: p for n, p in made.items() if not isinstance(p, str) and "not_run" not in prepared[n]}
        for name in suite.required:
            if reason := prepared[name].get("not_run"):
                found["error"] = f"{name} not run: {reason}"
        if baseline in programs and found["error"] is None:
            found["errors"], found["error"] = compare(suite, programs, suite.bounds[dtype], baseline)
        if found["error"] is None:
            start = environment.clock()
            times = timing.take_turns(programs, plan.seconds, plan.least, plan.most, tick)
            found["others_cpu"] = environment.share_of_others(start, environment.clock())
            for name, seconds in times.items():
                prepared[name] = prepared[name] | {"times_s": records.rounded(seconds)}
            found["programs"] = prepared
    except jax.errors.JaxRuntimeError as error:  # such as too little memory
        found["error"] = str(error).splitlines()[0]
    return found


def compare(
    suite: Suite, programs: Mapping[str, Program], bound: Bound, baseline: str
) -> tuple[dict[str, dict[str, float | None]], str | None]:
    """Compare the programs' results with the baseline's: relative errors by leaf, and the first that is too large.

    A leaf's error is relative to its own norm, or, if that is zero, to the norm of all leaves but the cost.
    """
    truth = programs[baseline].result()
    labels = suite.labels(truth)
    norms = [_norm(leaf) for leaf in jax.tree.leaves(truth)]
    whole = math.hypot(*(norm for label, norm in zip(labels, norms, strict=True) if label != "cost"))
    errors, error = {}, None
    for name in suite.compared:
        if name not in programs or name == baseline:
            continue
        result = programs[name].result()
        if _kinds(result) != _kinds(truth):
            return errors, f"{name} and {baseline} differ in structure, shapes or dtypes"
        leaves = zip(labels, norms, jax.tree.leaves(result), jax.tree.leaves(truth), strict=True)
        found = {label: _norm(a, b) / (norm or whole or 1.0) for label, norm, a, b in leaves}
        errors[name] = {label: e if math.isfinite(e) else None for label, e in found.items()}
        for label, e in found.items():
            allowed = bound(name, label) if callable(bound) else bound
            if not e <= allowed:
                error = error or f"{name} differs from {baseline}: {label} by {e:.1e} in norm, {allowed:.1e} allowed"
    return errors, error


def _kinds(result: Any) -> tuple:
    return jax.tree.structure(result), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(result)]


def _norm(a: jax.Array, b: jax.Array | float = 0.0) -> float:
    """The norm of a - b, in float64."""
    return float(np.linalg.norm((np.asarray(a, np.float64) - np.asarray(b, np.float64)).ravel()))
