"""Rows of results as text: tables, and what they show in words."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.records import Row
from benchmarks.text import align, control, extent, failing, interval, median_of, ratio_of, seconds, tally

PROGRAMS = ("manual", "autodiff", "autodiff_rows")
WORDS = ("network", "verdict")


class Pair(NamedTuple):
    """The two parts of one network and batch size, each where it was timed."""

    network: str
    layers: int
    batch_size: int
    compile: Row | None
    run: Row | None


def page(rows: Sequence[Row]) -> str:
    """All there is to read."""
    return f"{times(rows)}\n\n{steps(rows)}\n\n{summary(rows)}\n\n{NOTES}"


def pairs(rows: Sequence[Row]) -> list[Pair]:
    """By depth."""
    found = {}
    for row in rows:
        key = (row["network"], len(row["sizes"]) - 1, row["batch_size"])
        found.setdefault(key, {"compile": None, "run": None})[row["part"]] = None if row["error"] else row
    return sorted((Pair(*key, **parts) for key, parts in found.items()), key=lambda pair: pair.layers)


def lowering(row: Row, program: str) -> float:
    """The median seconds that lowering takes."""
    return statistics.median(row["programs"][program]["lower_times_s"])


def compiling(row: Row, program: str) -> float:
    """The median seconds of a call without its lowering."""
    found = row["programs"][program]
    return statistics.median(t - l for t, l in zip(found["times_s"], found["lower_times_s"], strict=True))


def times(rows: Sequence[Row]) -> str:
    """The main table: lowering and compiling together, and what the program that comes of it takes at run time."""
    header = (
        *("network", "layers", "batch", "manual", "autodiff", "manual / autodiff", "verdict"),
        *("manual / autodiff, rows", "control", "run: manual / autodiff", "run: control"),
    )
    body = []
    for pair in pairs(rows):
        cell = [pair.network, str(pair.layers), f"{pair.batch_size:,}"]
        if row := pair.compile:
            found = ratio_of(row, "manual", "autodiff")
            cell += [seconds(median_of(row, "manual")), seconds(median_of(row, "autodiff"))]
            cell += [interval(found), found.verdict, interval(ratio_of(row, "manual", "autodiff_rows"))]
            cell += [control(ratio_of(row, "control", "autodiff"))]
        else:
            cell += ["", "", "", "not timed", "", ""]
        if row := pair.run:
            cell += [interval(ratio_of(row, "manual", "autodiff")), control(ratio_of(row, "control", "autodiff"))]
        else:
            cell += ["not timed", ""]
        body.append(cell)
    return align(header, body, WORDS)


def steps(rows: Sequence[Row]) -> str:
    """Lowering, compiling and running apart: manual, autodiff, autodiff over rows."""
    header = ("network", "layers", "batch", "lower", "compile", "run")
    body = []
    for pair in pairs(rows):
        found = [(pair.compile, lowering), (pair.compile, compiling), (pair.run, median_of)]
        cells = [" / ".join(seconds(of(row, p)) for p in PROGRAMS) if row else "not timed" for row, of in found]
        body.append([pair.network, str(pair.layers), f"{pair.batch_size:,}", *cells])
    return align(header, body, WORDS)


def summary(rows: Sequence[Row]) -> str:
    """What the rows show, in one paragraph."""
    timed = [row for row in rows if not row["error"]]
    text = extent(rows)
    for part, what in (("compile", "is lowered and compiled"), ("run", "runs")):
        found = [(row, ratio_of(row, "manual", "autodiff")) for row in timed if row["part"] == part]
        if found:
            text.append(f"Manual {what} {tally(found)}")
    return " ".join([*text, failing([(row, ratio_of(row, "control", "autodiff")) for row in timed])])


NOTES = """\
Times are medians, of lowering and compiling together unless said. Each is as in a new process: what JAX keeps of traces
and programs is dropped before every call, and nothing is read from disk. (On a GPU XLA remembers which kernels it found
fastest for as long as the process runs.) A ratio is the median of the ratios within each round, with its 95 % bootstrap
interval; "no difference" where that includes 1. `autodiff` keeps examples in columns, as `manual` does, and `autodiff,
rows`, the last of three figures, in rows. The control is a second copy of `autodiff` over the first; * marks where its
interval does not lie in [0.95, 1.05], a cell too noisy to tell. `run` is one call of the compiled program.
"""
