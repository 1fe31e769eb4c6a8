"""Facts that follow from one row of results, the same for every suite: its name, times, ratios and control."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.records import Row
from benchmarks.timing import CONTROL, Ratio, ratio

TOO_NOISY = "too noisy to tell"
SPREAD = 1.5  # the factor by which the ends of an interval may differ
QUIET = 0.05  # the share of the cores' time that other processes may take, where it is known


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
    """The median time of a program in seconds; of one call, where several were timed in a row."""
    found = row["programs"][program]
    return statistics.median(found["times_s"]) / found.get("calls", 1)


def ratio_of(row: Row, numerator: str, denominator: str) -> Ratio:
    """The ratio of the times of two programs that were timed in the same cell."""
    return ratio(row["programs"][numerator]["times_s"], row["programs"][denominator]["times_s"])


def control_of(row: Row) -> Ratio:
    """The ratio of the times of two copies of one program."""
    return ratio_of(row, "control", references(row).copied)


def noise(row: Row, r: Ratio) -> float:
    """The noise of a ratio of a cell over the noise that is allowed: above 1, the ratio is too noisy to tell.

    The largest of these counts: the distance of the ends of the ratio's interval, that of the control from 1, and the
    time that other processes took.
    """
    (lowest, highest), control = CONTROL, control_of(row)
    others = row.get("others_cpu") or 0.0
    return max(r.high / r.low / SPREAD, control.high / highest, lowest / control.low, others / QUIET)


def is_told(row: Row, r: Ratio) -> bool:
    """Whether a ratio of a cell can be told apart from noise. Means and counts leave out all others."""
    return noise(row, r) <= 1


def verdict(row: Row, r: Ratio) -> str:
    """The verdict on manual, if its time is the numerator of the ratio."""
    return r.verdict if is_told(row, r) else TOO_NOISY


def told(cells: Sequence[tuple[Row, Ratio]]) -> list[tuple[Row, Ratio]]:
    """Keep the cells, each with a ratio, that can be told apart from noise."""
    return [(row, r) for row, r in cells if is_told(row, r)]


def pooled(before: Row, after: Row) -> Row:
    """The row of a cell that was measured twice, with the rounds of both.

    What came before the rounds, such as compiling, stays as it was at first. So does the whole row if the second time
    not every program was timed.
    """
    old, new = (
        {name: p["times_s"] for name, p in row["programs"].items() if "times_s" in p} for row in (before, after)
    )
    if old.keys() != new.keys():
        return before
    programs = {n: p | {"times_s": old[n] + new[n]} if n in old else p for n, p in before["programs"].items()}
    row = before | {"date": after["date"], "programs": programs}
    first, second = (row.get("others_cpu") for row in (before, after))
    if first is not None and second is not None:
        m, n = (len(times["control"]) for times in (old, new))
        row["others_cpu"] = round((m * first + n * second) / (m + n), 3)
    return row
