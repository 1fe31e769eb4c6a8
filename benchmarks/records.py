"""The results file: JSON Lines, a row per cell, written when the cell is finished and never changed afterwards.

If a cell is measured again, a further row follows; the last row of a cell counts.

A row holds raw measurements. Everything that can be computed from them is computed when the file is read.

    schema              1
    suite               "gradients", "quantities", "training" or "roofline"; "memory" and "scaling" in files
                        of earlier versions
    date                when the cell was finished, UTC
    environment         `environment.describe()`
    matmul_flops_per_s  speed of a square matrix product, measured in the same run
    quantity            in "quantities": its name
    part                in "training": "step", "accuracy" or "ensemble"
    network, sizes      name and [n_0, ..., n_L]
    batch_size          m
    steps               in "training": steps of a call, in the part "accuracy" of an epoch
    members             in "training": the number of networks that a call trains
    errors              by program and leaf: relative difference from the baseline (`rows.REFERENCES`), null if it is
                        not finite
    error               why the cell was not timed, or null
    others_cpu          in "training": the share of all cores' time that other processes took, or null
    programs            by program: times_s, one time per round, or not_run, the reason why there are none; and
                        - lower_s, compile_s and temp_bytes, or instead first_s, the time of the first call;
                        - calls, where several in a row were waited for and timed as one;
                        - library, the name and version of the library it is written with, unless that is JAX;
                        - in the part "accuracy": epochs and accuracy;
                        - for the products in "roofline": block, the number of examples in one product, and examples,
                          the number of examples in a call

Rows of "scaling" are read as rows of "gradients", whose plan it is now. Rows of "memory" are no longer
read; the pages made from them are kept.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.environment import UsageError

RESULTS = Path(__file__).parent / "results"
SCHEMA = 1
RETIRED = ("memory",)  # suites of earlier versions
_BEFORE = ("schema", "suite", "date", "environment", "matmul_flops_per_s")
_CELL = ("network", "sizes", "batch_size")
_AFTER = ("errors", "error", "programs")
FIELDS = {
    "gradients": (*_BEFORE, *_CELL, *_AFTER),
    "quantities": (*_BEFORE, "quantity", *_CELL, *_AFTER),
    "training": (*_BEFORE, "part", *_CELL, "steps", "members", "errors", "error", "others_cpu", "programs"),
    "roofline": (*_BEFORE, *_CELL, *_AFTER),
}

Row = dict[str, Any]


def prepare(path: Path, suite: str, environment: dict[str, Any]) -> None:
    """Check, before anything is measured, that rows of this suite and environment can be appended to the file."""
    if path.suffix in (".md", ".png"):
        raise UsageError(f"{path}: the page and the plot of results get this ending; expected another, such as .jsonl")
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
    """Write one row, so that it is kept even if the process ends."""
    line = json.dumps(row, allow_nan=False, separators=(",", ":"))
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def rounded(times: Sequence[float]) -> list[float]:
    """Times rounded to five digits, which is finer than the scatter of the clock."""
    return [float(f"{t:.5g}") for t in times]


def read(path: Path) -> tuple[list[Row], list[str]]:
    """The rows of a file, and a note for each incomplete line, such as a killed run leaves."""
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
        if isinstance(row, dict) and row.get("suite") == "scaling":
            row = {key: value for key, value in row.items() if key != "part"} | {"suite": "gradients"}
        if not _is_row(row):
            raise UsageError(f"{path} is not a results file: line {number} is not a row of schema {SCHEMA}")
        rows.append(row)
    if not rows:
        raise UsageError(f"{path} is not a results file: it has no rows")
    _comparable(path, rows)
    return rows, notes


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict) or row.get("schema") != SCHEMA or row.get("suite") not in (*FIELDS, *RETIRED):
        return False
    return row.keys() >= set(FIELDS.get(row["suite"], _BEFORE))


def _comparable(path: Path, rows: Sequence[Row]) -> None:
    """Refuse rows of different suites or environments in one file."""
    first, *others = ({"suite": row["suite"], **row["environment"]} for row in rows)
    for other in others:
        for key in first:
            if other.get(key) != first[key]:
                raise UsageError(
                    f"{path} has {key} {first[key]} and {other.get(key)}; a results file holds one suite, measured in "
                    "one environment: write to another file"
                )
