"""Checks whether manual got worse from one results file to another of the same suite."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks import page, rows, text
from benchmarks.display import Table, notes, show
from benchmarks.environment import UsageError
from benchmarks.records import Row
from benchmarks.timing import Ratio

COMPARED = ("gradients", "quantities", "training")  # the suites in which manual is timed against something else
TOO_BUSY = "More than half cannot be told: measure both again on a machine that does nothing else."
MEMORY_GROWTH = 1.05  # the growth of manual's temporary memory that is allowed


class Change(NamedTuple):
    """A cell that was timed in both files."""

    cell: str
    old: Ratio | None  # manual over the baseline; None if that was not run
    new: Ratio | None
    is_noisy: bool  # whether either ratio cannot be told apart from noise
    memory: tuple[int, int] | None  # manual's temporary memory in bytes, old and new

    @property
    def time(self) -> str:
        """Whether the ratio changed by more than both intervals allow."""
        if self.old is None or self.new is None:
            return "baseline not run"
        if self.is_noisy:
            return rows.TOO_NOISY
        return (
            "worse" if self.new.low > self.old.high else "better" if self.new.high < self.old.low else "no difference"
        )

    @property
    def memory_is_worse(self) -> bool:
        return self.memory is not None and self.memory[1] > MEMORY_GROWTH * self.memory[0]

    @property
    def is_worse(self) -> bool:
        return self.time == "worse" or self.memory_is_worse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        f"Compares files of the suites {', '.join(COMPARED)}. Exit status: 1 if a cell got worse, 0 if none did, 2 if "
        "the files cannot be compared."
    )
    parser.add_argument("old", type=Path, metavar="OLD.jsonl", help="results file from before")
    parser.add_argument("new", type=Path, metavar="NEW.jsonl", help="results file of the same suite, from after")


def run(args: argparse.Namespace) -> int:
    old, new = page.cells(args.old), page.cells(args.new)
    before, after = (next(iter(cells.values())) for cells in (old, new))
    if before["suite"] != after["suite"]:
        raise UsageError(
            f"{args.old} has suite {before['suite']}, {args.new} {after['suite']}; expected two files of one suite"
        )
    if before["suite"] not in COMPARED:
        raise UsageError(f"suite {before['suite']} cannot be compared; expected any of {', '.join(COMPARED)}")
    common = [cell for cell in old if cell in new and not (old[cell]["error"] or new[cell]["error"])]
    if not common:
        raise UsageError(f"no cell was timed in both {args.old} and {args.new}; expected two runs of the same cells")
    with_memory = all(before["environment"][key] == after["environment"][key] for key in ("backend", "dtype"))
    changes = [change(cell, old[cell], new[cell], with_memory) for cell in common]
    lines = [*differences(before, after, with_memory), *untimed(old, new), summary(changes, old, new)]
    show([table(changes), NOTES, "\n".join(lines)])
    return 1 if any(found.is_worse for found in changes) else 0


def change(cell: str, old: Row, new: Row, with_memory: bool) -> Change:
    """The change of a cell; its memory is None unless `with_memory`."""
    baseline = rows.references(old).baseline
    before, after = (
        rows.ratio_of(row, "manual", baseline) if rows.was_timed(row, baseline) else None for row in (old, new)
    )
    is_noisy = not all(r is None or rows.is_told(row, r) for row, r in ((old, before), (new, after)))
    memory = old["programs"]["manual"].get("temp_bytes"), new["programs"]["manual"].get("temp_bytes")
    return Change(cell, before, after, is_noisy, memory if with_memory and None not in memory else None)


def table(changes: list[Change]) -> Table:
    header = ("cell", "ratio, old", "ratio, new", "verdict", "memory, old", "memory, new")
    body = []
    for found in changes:
        ratios = [text.interval(r) if r else "not run" for r in (found.old, found.new)]
        before, after = map(text.size, found.memory or (None, None))
        body.append([found.cell, *ratios, found.time, before, after + (" *" if found.memory_is_worse else "  ")])
    return Table(header, body)


def differences(old: Row, new: Row, with_memory: bool) -> list[str]:
    """The differences between the machines and versions of the two runs."""
    before, after = old["environment"], new["environment"]
    found = [f"{key} {before[key]}, now {after.get(key)}" for key in before if after.get(key) != before[key]]
    lines = [f"Different: {'; '.join(found)}."] if found else []
    return lines if with_memory else [*lines, "Memory is not compared: it depends on backend and dtype."]


def untimed(old: Mapping[str, Row], new: Mapping[str, Row]) -> list[str]:
    """The cells that are in one file only, or were not timed in one of them."""
    lines = [f"Missing from the new file: {cell}." for cell in old if cell not in new]
    lines += [f"Only in the new file: {cell}." for cell in new if cell not in old]
    for word, cells in (("old", old), ("new", new)):
        lines += [
            f"Not timed in the {word} file: {cell}: {row['error']}." for cell, row in cells.items() if row["error"]
        ]
    return lines


def summary(changes: list[Change], old: Mapping[str, Row], new: Mapping[str, Row]) -> str:
    """The numbers of cells that got better and worse, in one sentence."""
    words = [found.time for found in changes]
    worse = [found.cell for found in changes if found.time == "worse"]
    grown = [found.cell for found in changes if found.memory_is_worse]
    missing = sum(cell not in new for cell in old)
    counted = (
        f"Of {len(changes)} cells timed in both files {words.count('better')} are better, "
        f"{words.count('no difference')} no different, {(noisy := words.count(rows.TOO_NOISY))} {rows.TOO_NOISY} and "
        f"{len(worse)} worse{_named(worse)}; memory grew in {len(grown)}{_named(grown)}; {missing} cells are missing."
    )
    return counted if 2 * noisy <= len(changes) else f"{counted} {TOO_BUSY}"


def _named(cells: list[str]) -> str:
    return f" ({'; '.join(cells)})" if cells else ""


NOTES = notes(f"""
A ratio is manual's time over its baseline's, with its 95 % interval. It is worse if the new interval lies entirely
above the old one, and better if it lies below. It is too noisy to tell if in either file the control fails, the
interval is wider than a factor of {rows.SPREAD} or, in training, other processes took more than {rows.QUIET:.0%} of
the cores' time. Memory is manual's temporary memory, which does not vary from run to run; * marks growth by more than
{MEMORY_GROWTH - 1:.0%}, which also counts as worse. An interval covers the variation within a run. Between two runs of
the same code ratios have changed by up to 0.08, or by 0.11 where the control fails: if a cell got worse, measure it
again before you believe it.
""")
