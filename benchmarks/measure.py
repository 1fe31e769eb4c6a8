"""How a suite is measured, cell by cell.

In each cell the programs are lowered and compiled, what they give is compared, and then all are timed in turns. The row
is written as the cell is finished.
"""

import argparse
import datetime
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import environment, records, text, timing
from benchmarks.options import Plan
from benchmarks.problem import Measured
from benchmarks.progress import Progress

# How far two programs may be apart, in norm over norm of each leaf: for all, or as a function of program and leaf
Bound = float | Callable[[str, str], float]


class Suite(NamedTuple):
    """What one suite has and another has not."""

    name: str
    compared: tuple[str, ...]  # the programs that have to agree with the reference
    labels: Callable[[Any], list[str]]  # what the leaves of a result are called
    bounds: Mapping[str, Bound]  # by dtype
    line: Callable[[records.Row], str]  # a finished cell in words
    needed: tuple[str, ...] = ()  # the programs without which there is nothing to say of a cell
    bytes_allowed: float = math.inf  # temporary memory beyond which the reference is not run
    # what a row tells of a program's calls beside their times, from the program and how many were timed
    of_calls: Callable[[Any, int], dict[str, Any]] = lambda program, rounds: {}


class Cell(NamedTuple):
    """What identifies a cell, in its row's words, and what makes its programs."""

    fields: dict[str, Any]
    programs: Callable[[], Mapping[str, Measured | str]]  # each, or why there is none
    reference: str = "autodiff"  # the program whose results are the right ones


def run(
    suite: Suite,
    args: argparse.Namespace,
    plan: Plan,
    cells: list[Cell],
    of_cell: Callable[..., dict[str, Any]] | None = None,
) -> tuple[list[records.Row], Path]:
    """The rows of a run, and the file that holds them; `of_cell` stands in for `measure`."""
    environment.require("rich")
    environment.select_device(args.device)
    started = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    path = args.out or records.RESULTS / f"local-{suite.name}-{jax.default_backend()}-{started}.jsonl"
    rows = []
    with jax.enable_x64(args.dtype == "float64"):
        here = environment.describe(args.dtype)
        records.prepare(path, suite.name, here)
        common = {"environment": here, "matmul_flops_per_s": environment.matmul_flops(args.dtype)}
        with Progress(len(cells)) as progress:
            for cell in cells:
                progress.start(text.name(cell.fields))
                found = (of_cell or measure)(suite, cell, args.dtype, plan, progress.tick)
                # in the order of records.FIELDS
                row = {"schema": records.SCHEMA, "suite": suite.name, "date": _now(), **common, **cell.fields, **found}
                records.append(path, row)
                rows.append(row)
                progress.finish(suite.line(row))
    return rows, path


def measure(suite: Suite, cell: Cell, dtype: str, plan: Plan, tick: Callable[[float], None]) -> dict[str, Any]:
    """What one cell adds to its row: errors, error, others_cpu where the suite's rows have it, programs."""
    watched = {"others_cpu": None} if "others_cpu" in records.FIELDS[suite.name] else {}
    found: dict[str, Any] = {"errors": {}, "error": None, **watched, "programs": {}}
    try:
        made = cell.programs()
        prepared: dict[str, dict[str, Any]]
        prepared = {name: {"not_run": p} if isinstance(p, str) else p.preparation for name, p in made.items()}
        needed = prepared[cell.reference].get("temp_bytes") or 0
        if needed > suite.bytes_allowed:
            reason = f"{needed / 1e9:.3g} GB of temporary memory, {suite.bytes_allowed / 1e9:g} GB allowed"
            prepared[cell.reference] = prepared[cell.reference] | {"not_run": reason}
        programs = {n: p for n, p in made.items() if not isinstance(p, str) and "not_run" not in prepared[n]}
        for name in suite.needed:
            if reason := prepared[name].get("not_run"):
                found["error"] = f"{name} not run: {reason}"
        if cell.reference in programs and found["error"] is None:
            found["errors"], found["error"] = compare(suite, programs, suite.bounds[dtype], cell.reference)
        if found["error"] is None:
            before, after = ({name: getattr(p, do) for name, p in programs.items()} for do in ("ready", "rest"))
            start = environment.clock()
            times = timing.take_turns(programs, plan.seconds, plan.least, plan.most, tick, before, after)
            if watched:
                found["others_cpu"] = environment.share_of_others(start, environment.clock())
            told = {n: {"times_s": records.rounded(ts)} | suite.of_calls(made[n], len(ts)) for n, ts in times.items()}
            found["programs"] = {name: p | told.get(name, {}) for name, p in prepared.items()}
    except jax.errors.JaxRuntimeError as error:  # such as memory that does not suffice
        found["error"] = str(error).splitlines()[0]
    return found


def compare(
    suite: Suite, programs: Mapping[str, Measured], bound: Bound, reference: str = "autodiff"
) -> tuple[dict[str, dict[str, float | None]], str | None]:
    """What programs give against what the reference gives: relative errors by leaf, and the first that is too large.

    A leaf is measured by its own norm, one that is zero by the norm of all but the cost.
    """
    truth = programs[reference].result()
    labels = suite.labels(truth)
    norms = [_norm(leaf) for leaf in jax.tree.leaves(truth)]
    whole = math.hypot(*(norm for label, norm in zip(labels, norms, strict=True) if label != "cost"))
    errors, error = {}, None
    for name in suite.compared:
        if name not in programs or name == reference:
            continue
        result = programs[name].result()
        if _kinds(result) != _kinds(truth):
            return errors, f"{name} and {reference} differ in structure, shapes or dtypes"
        leaves = zip(labels, norms, jax.tree.leaves(result), jax.tree.leaves(truth), strict=True)
        found = {label: _norm(a, b) / (norm or whole or 1.0) for label, norm, a, b in leaves}
        errors[name] = {label: e if math.isfinite(e) else None for label, e in found.items()}
        for label, e in found.items():
            allowed = bound(name, label) if callable(bound) else bound
            if not e <= allowed:
                error = error or f"{name} differs from {reference}: {label} by {e:.1e} in norm, {allowed:.1e} allowed"
    return errors, error


def _kinds(result: Any) -> tuple:
    return jax.tree.structure(result), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(result)]


def _norm(a: jax.Array, b: jax.Array | float = 0.0) -> float:
    """The norm of a - b, in float64."""
    return float(np.linalg.norm((np.asarray(a, np.float64) - np.asarray(b, np.float64)).ravel()))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
