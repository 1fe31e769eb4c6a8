"""The results file: JSON Lines, a row for each cell, written as the cell is finished and only ever appended to.

A row holds what was measured, raw; whatever can be computed from it is computed by its readers.

    schema              1
    suite               "gradients", "quantities", "training", "compile", "scaling", "memory" or
                        "roofline"
    date                when the cell was finished, UTC
    environment         `environment.describe()`
    matmul_flops_per_s  of a square matrix product, measured in the same run
    quantity            of "quantities" only: its name
    part                of "training": "step", "accuracy" or "ensemble"; of "compile": "compile" or "run"; of "scaling"
                        what it varies: "batch_size", "width" or "depth"; of "memory": "gradient", "step" or
                        "many_classes"
    network, sizes      its name and [n_0, ..., n_L]
    batch_size          m
    steps               of "training" only: those of a call, in "accuracy" of an epoch
    members             of "training" only: the networks that a call trains
    errors              by program and leaf: relative difference from autodiff (in "training" from "optax_scan" or
                        "one_by_one", in "roofline" from "manual"), null where it is not finite
    error               why the cell was not timed, or null
    others_cpu          of "training" only: the part of all cores' time that other processes took, or null
    programs            by program: lower_s, compile_s, temp_bytes, and times_s, one time per round, or not_run, why
                        there are none; of "training" instead of the first three first_s, the time of the first
                        call, with library, its name and version, and in "accuracy" epochs and accuracy; of
                        "compile" in its part "compile" instead of them lower_times_s, what of each time was lowering,
                        the rest being compiling; of "memory" temp_bytes, argument_bytes and result_bytes only; of
                        "roofline" with them, for products, block, how many examples they are of at a time, and
                        examples, those of a call
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.environment import UsageError

RESULTS = Path(__file__).parent / "results"
SCHEMA = 1
_BEFORE = ("schema", "suite", "date", "environment", "matmul_flops_per_s")
_CELL = ("network", "sizes", "batch_size")
_AFTER = ("errors", "error", "programs")
FIELDS = {
    "gradients": (*_BEFORE, *_CELL, *_AFTER),
    "quantities": (*_BEFORE, "quantity", *_CELL, *_AFTER),
    "training": (*_BEFORE, "part", *_CELL, "steps", "members", "errors", "error", "others_cpu", "programs"),
    "compile": (*_BEFORE, "part", *_CELL, *_AFTER),
    "scaling": (*_BEFORE, "part", *_CELL, *_AFTER),
    "memory": (*_BEFORE, "part", *_CELL, "error", "programs"),
    "roofline": (*_BEFORE, *_CELL, *_AFTER),
}

Row = dict[str, Any]


def prepare(path: Path, suite: str, environment: dict[str, Any]) -> None:
    """Makes sure, before anything is measured, that rows of this suite and environment can be appended to the file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size:
            rows, _ = read(path)
            _comparable(path, [*rows, {"suite": suite, "environment": environment}])
        with path.open("ab+") as file:
            file.seek(max(file.tell() - 1, 0))
            if file.read(1) not in (b"", b"\n"):  # a killed run left half a line
                file.write(b"\n")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None


def append(path: Path, row: Row) -> None:
    """Writes one row; it stays, whatever becomes of the process."""
    line = json.dumps(row, allow_nan=False, separators=(",", ":"))
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def rounded(times: Sequence[float]) -> list[float]:
    """Times to five digits: finer than the clock's own scatter."""
    return [float(f"{t:.5g}") for t in times]


def read(path: Path) -> tuple[list[Row], list[str]]:
    """The rows of a file, and a note for each line that could not be read, as a killed run leaves one."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not a results file: it is not text") from None
    rows, notes = [], []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            notes.append(f"{path}: line {number} is incomplete and was left out")
            continue
        if not _is_row(row):
            raise UsageError(f"{path} is not a results file: line {number} is not a row of schema {SCHEMA}")
        rows.append(row)
    if not rows:
        raise UsageError(f"{path} is not a results file: it has no rows")
    _comparable(path, rows)
    return rows, notes


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict) or row.get("schema") != SCHEMA or row.get("suite") not in tuple(FIELDS):
        return False
    return row.keys() >= set(FIELDS[row["suite"]])


def _comparable(path: Path, rows: Sequence[Row]) -> None:
    """One file holds one suite, measured in one environment."""
    first, *others = ({"suite": row["suite"], **row["environment"]} for row in rows)
    for other in others:
        for key in first:
            if other.get(key) != first[key]:
                raise UsageError(
                    f"{path} has {key} {first[key]} and {other.get(key)}; one file holds runs that can be compared"
                )
