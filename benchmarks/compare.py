"""Checks whether manual got worse from one results file to another of the same suite."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks import report
from benchmarks.environment import UsageError
from benchmarks.records import Row
from benchmarks.text import align, interval, ratio_of, size
from benchmarks.timing import Ratio

# By suite: what manual is timed against, and what the control is a copy of
BASELINES = {
    "gradients": ("autodiff", "autodiff"),
    "quantities": ("autodiff", "gradient"),
    "training": ("optax_scan", "optax_scan"),
    "compile": ("autodiff", "autodiff"),
    "scaling": ("autodiff", "autodiff"),
}
ENSEMBLE = ("one_by_one", "one_by_one")  # instead, in that part of "training"
MEMORY_GROWTH = 1.05  # of manual's temporary memory, that is allowed
WORDS = ("cell", "verdict")


class Change(NamedTuple):
    """A cell that was timed in both files."""

    cell: str
    old: Ratio | None  # None where the baseline was not run
    new: Ratio | None
    is_noisy: bool  # whether the control fails in either
    needed: tuple[int, int] | None  # manual's bytes of temporary memory, old and new

    @property
    def time(self) -> str:
        """In words, whether the ratio changed beyond both intervals."""
        if self.old is None or self.new is None:
            return "baseline not run"
        if self.is_noisy:
            return "too noisy to tell"
        return (
            "worse" if self.new.low > self.old.high else "better" if self.new.high < self.old.low else "no difference"
        )

    @property
    def memory_is_worse(self) -> bool:
        return self.needed is not None and self.needed[1] > MEMORY_GROWTH * self.needed[0]

    @property
    def is_worse(self) -> bool:
        return self.time == "worse" or self.memory_is_worse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        f"Of the suites {', '.join(BASELINES)}. Exit status: 1 where a cell is worse, 0 where none is, 2 where the "
        "files cannot be compared."
    )
    parser.add_argument("old", type=Path, metavar="OLD.jsonl", help="results file from before")
    parser.add_argument("new", type=Path, metavar="NEW.jsonl", help="results file of the same suite, from after")


def run(args: argparse.Namespace) -> int:
    old, new = report.cells(args.old), report.cells(args.new)
    before, after = (next(iter(cells.values())) for cells in (old, new))
    if before["suite"] != after["suite"]:
        raise UsageError(
            f"{args.old} has suite {before['suite']}, {args.new} {after['suite']}; expected two files of one suite"
        )
    if before["suite"] not in BASELINES:
        raise UsageError(f"suite {before['suite']} cannot be compared; expected any of {', '.join(BASELINES)}")
    common = [cell for cell in old if cell in new and not (old[cell]["error"] or new[cell]["error"])]
    if not common:
        raise UsageError(f"no cell was timed in both {args.old} and {args.new}; expected two runs of the same cells")
    of_memory = all(before["environment"][key] == after["environment"][key] for key in ("backend", "dtype"))
    changes = [change(cell, old[cell], new[cell], of_memory) for cell in common]
    said = [*differences(before, after, of_memory), *untimed(old, new), summary(changes, old, new)]
    print(table(changes), "", NOTES, *said, sep="\n")
    return 1 if any(found.is_worse for found in changes) else 0


def change(cell: str, old: Row, new: Row, of_memory: bool) -> Change:
    """What changed in a cell, with its memory or without."""
    baseline, copied = ENSEMBLE if old.get("part") == "ensemble" else BASELINES[old["suite"]]
    before, after = (
        ratio_of(row, "manual", baseline) if "times_s" in row["programs"][baseline] else None for row in (old, new)
    )
    noisy = not all(ratio_of(row, "control", copied).passes_as_control for row in (old, new))
    needed = old["programs"]["manual"].get("temp_bytes"), new["programs"]["manual"].get("temp_bytes")
    return Change(cell, before, after, noisy, needed if of_memory and None not in needed else None)


def table(changes: list[Change]) -> str:
    header = ("cell", "ratio, old", "ratio, new", "verdict", "memory, old", "memory, new")
    body = []
    for found in changes:
        ratios = [interval(r) if r else "not run" for r in (found.old, found.new)]
        before, after = map(size, found.needed or (None, None))
        body.append([found.cell, *ratios, found.time, before, after + (" *" if found.memory_is_worse else "  ")])
    return align(header, body, WORDS)


def differences(old: Row, new: Row, of_memory: bool) -> list[str]:
    """What of the machines and versions differs."""
    before, after = old["environment"], new["environment"]
    found = [f"{key} {before[key]}, now {after.get(key)}" for key in before if after.get(key) != before[key]]
    text = [f"Different: {'; '.join(found)}."] if found else []
    return text if of_memory else [*text, "Memory is not compared: it depends on backend and dtype."]


def untimed(old: Mapping[str, Row], new: Mapping[str, Row]) -> list[str]:
    """The cells that are in one file only, or were not timed in one of them."""
    text = [f"Missing from the new file: {cell}." for cell in old if cell not in new]
    text += [f"Only in the new file: {cell}." for cell in new if cell not in old]
    for word, cells in (("old", old), ("new", new)):
        text += [
            f"Not timed in the {word} file: {cell}: {row['error']}." for cell, row in cells.items() if row["error"]
        ]
    return text


def summary(changes: list[Change], old: Mapping[str, Row], new: Mapping[str, Row]) -> str:
    """One sentence."""
    words = [found.time for found in changes]
    worse, grown = (
        [found.cell for found in changes if holds(found)]
        for holds in (lambda f: f.time == "worse", lambda f: f.memory_is_worse)
    )
    missing = sum(cell not in new for cell in old)
    return (
        f"Of {len(changes)} cells timed in both files {words.count('better')} are better, "
        f"{words.count('no difference')} no different, {words.count('too noisy to tell')} too noisy to tell and "
        f"{len(worse)} worse{_named(worse)}; memory grew in {len(grown)}{_named(grown)}; {missing} cells are missing."
    )


def _named(cells: list[str]) -> str:
    return f" ({'; '.join(cells)})" if cells else ""


NOTES = f"""\
A ratio is manual's time over its baseline's, with its 95 % interval: worse where all of the new interval lies above the
old one, better where it lies below. It is too noisy to tell where the control fails in either file. Memory is manual's
temporary memory, which no noise changes; * marks growth by more than {MEMORY_GROWTH - 1:.0%}, which is worse as well.
An interval holds what varies within a run. Between two runs of the same code ratios have moved by up to 0.08, where
the control fails by 0.11: measure a cell that got worse again before you believe it.
"""
