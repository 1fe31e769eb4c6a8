"""The measurement of a suite, cell by cell.

In each cell the programs are lowered and compiled, their results are compared, and then all are timed in turns. The row
is written as soon as the cell is finished. Then the noisiest cells are measured again, as far as the time allows.
"""

import argparse
import datetime
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import display, environment, page, records, rows, timing
from benchmarks.plans import Plan
from benchmarks.program import Program
from benchmarks.progress import CellProgress
from benchmarks.suite import Bound, Cell, Suite

RETAKES = 2  # how often a noisy cell is measured again at most


def run_suite(suite: Suite, args: argparse.Namespace, plan: Plan, cells: Sequence[Cell]) -> int:
    """Measure the cells, print the report, and return the exit status: 1 if a cell has an error."""
    environment.require("rich")
    environment.select_device(args.device)
    started = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    with jax.enable_x64(args.dtype == "float64"):
        here = environment.describe(args.dtype)
        name = f"local-{suite.name}-{environment.slug(here['device'])}-{started}.jsonl"
        path: Path = args.out or records.RESULTS / name
        records.prepare(path, suite.name, here)
        common = {
            "schema": records.SCHEMA,
            "suite": suite.name,
            "environment": here,
            "matmul_flops_per_s": environment.matmul_flops(args.dtype),
        }
        measured: dict[str, records.Row] = {}  # by name of the cell
        spent: dict[str, float] = {}  # the seconds that a cell took when it was last measured
        progress = CellProgress(len(cells))

        def measure(cell: Cell) -> None:
            """Measure a cell, for the first time or again, and write its row."""
            name = rows.name(cell.fields)
            before = measured.get(name)
            progress.start(f"{name}, again" if before else name)
            start = time.monotonic()
            found = common | cell.fields | measure_cell(suite, cell, args.dtype, plan, progress.tick)
            found["date"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            row = {field: found[field] for field in records.FIELDS[suite.name]}
            row = rows.pooled(before, row) if before else row
            records.append(path, row)
            measured[name], spent[name] = row, time.monotonic() - start
            line = f"{name}: {row['error'] or suite.line(row)}"
            progress.say(f"again, noisy: {line}") if before else progress.finish(line)

        with progress.bar:
            for cell in cells:
                measure(cell)
            # who asks for a number of rounds gets this number
            seconds_left = 0.0 if args.repeats else plan.seconds * len(cells) / 2
            taken: Counter[str] = Counter()
            while name := noisiest(
                suite, [n for n, s in spent.items() if taken[n] < RETAKES and s <= seconds_left], measured
            ):
                measure(next(cell for cell in cells if rows.name(cell.fields) == name))
                taken[name] += 1
                seconds_left -= spent[name]
    report = list(measured.values())
    display.show([*suite.page(report), "\n".join([*suite.ending(report), page.files(suite, path)])])
    return 1 if any(row["error"] for row in report) else 0


def noisiest(suite: Suite, names: Sequence[str], measured: Mapping[str, records.Row]) -> str | None:
    """The name of the noisiest of the named cells, if it is too noisy to tell."""
    timed = {name: measured[name] for name in names if not measured[name]["error"]}
    noise = {name: rows.noise(row, suite.ratio(row)) for name, row in timed.items()}
    name = max(noise, key=lambda name: noise[name], default=None)
    return name if name and noise[name] > 1 else None


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
            bound = suite.tf32 if environment.is_tf32(dtype) else suite.bounds[dtype]
            found["errors"], found["error"] = compare(suite, programs, bound, baseline)
            for name in [name for name in suite.optional if name in programs and found["error"] is None]:
                try:
                    errors, reason = compare(suite._replace(compared=(name,)), programs, bound, baseline)
                except RuntimeError as error:
                    errors, reason = {}, str(error).splitlines()[0]
                found["errors"] |= errors
                if reason:
                    prepared[name] = {"not_run": reason}
                    del programs[name]
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
