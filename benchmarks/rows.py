"""Facts that follow from one row of results, the same for every suite: its name, times, ratios and control."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.records import Row
from benchmarks.timing import Ratio, ratio


class References(NamedTuple):
    """The programs of a cell that others are measured against."""

    baseline: str  # the program whose results are taken as right, and that manual is compared with
    copied: str  # the program of which "control" is a second copy


REFERENCES = {
    "gradients": References("autodiff", "autodiff"),
    "quantities": References("autodiff", "gradient"),
    "training": References("optax_scan", "optax_scan"),
    "ensemble": References("one_by_one", "one_by_one"),  # a part of the suite training
    "roofline": References("manual", "products"),
}


def references(row: Mapping[str, Any]) -> References:
    return REFERENCES["ensemble" if row.get("part") == "ensemble" else row["suite"]]


def name(fields: Mapping[str, Any]) -> str:
    """Name a cell by the fields that identify it."""
    subject = fields.get("quantity") or fields.get("part")
    if fields.get("members", 1) > 1:
        subject = f"{subject} of {fields['members']}"
    return f"{f'{subject}, ' if subject else ''}{fields['network']} at {fields['batch_size']:,}"


def timed(rows: Sequence[Row]) -> list[Row]:
    """The rows without an error."""
    return [row for row in rows if not row["error"]]


def was_timed(row: Row, program: str) -> bool:
    return "times_s" in row["programs"].get(program, {})


def not_run(row: Row, program: str) -> str | None:
    """The reason why a program was not run; None if it was."""
    return row["programs"][program].get("not_run")


def median_of(row: Row, program: str) -> float:
    """The median time of a program in seconds."""
    return statistics.median(row["programs"][program]["times_s"])


def ratio_of(row: Row, numerator: str, denominator: str) -> Ratio:
    """The ratio of the times of two programs that were timed in the same cell."""
    return ratio(row["programs"][numerator]["times_s"], row["programs"][denominator]["times_s"])


def control_of(row: Row) -> Ratio:
    """The ratio of the times of two copies of one program."""
    return ratio_of(row, "control", references(row).copied)
