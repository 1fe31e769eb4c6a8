"""What results look like in print, whatever the suite: figures with their intervals, and aligned Markdown tables."""

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from benchmarks.records import Row
from benchmarks.timing import Ratio, ratio


def ratio_of(row: Row, numerator: str, denominator: str) -> Ratio:
    """The ratio of two programs of a cell that were timed."""
    return ratio(row["programs"][numerator]["times_s"], row["programs"][denominator]["times_s"])


def median_of(row: Row, program: str) -> float:
    """A program's median time in seconds."""
    return statistics.median(row["programs"][program]["times_s"])


def was_timed(row: Row, program: str) -> bool:
    return "times_s" in row["programs"].get(program, {})


def name(fields: Mapping[str, Any]) -> str:
    """A cell in words, from what identifies it."""
    of = fields.get("quantity") or fields.get("part")
    if fields.get("members", 1) > 1:
        of = f"{of} of {fields['members']}"
    return f"{f'{of}, ' if of else ''}{fields['network']} at {fields['batch_size']:,}"


def figure(x: float) -> str:
    """Three digits, or all those before the point."""
    return f"{x:,.{2 if x < 9.995 else 1 if x < 99.95 else 0}f}"


def interval(r: Ratio) -> str:
    return f"{figure(r.median)} [{figure(r.low)}, {figure(r.high)}]"


def control(r: Ratio) -> str:
    """The interval of a control, marked where the cell is too noisy to tell."""
    return interval(r) + ("  " if r.passes_as_control else " *")


def seconds(t: float) -> str:
    unit, scale = next((u, s) for u, s in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)) if t >= s or u == "µs")
    return f"{figure(t / scale)} {unit}"


def size(n: int | None) -> str:
    if n is None:
        return "?"
    unit, scale = next((u, s) for u, s in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if n >= s or u == "kB")
    return f"{figure(n / scale)} {unit}"


def conditions(row: Row) -> str:
    """Where and with what a run was made."""
    e = row["environment"]
    return (
        f"{e['device']}, {e['threads']} threads{_devices(e)}, {e['platform']}; {e['dtype']}, matmul precision "
        f"{e['matmul_precision']}; jax {e['jax']}, jaxlib {e['jaxlib']}, numpy {e['numpy']}, Python {e['python']}; "
        f"commit {e['commit'] or 'unknown'}; {row['date']}. "
        f"A square matrix product ran at {row['matmul_flops_per_s'] / 1e9:,.0f} GFLOP/s."
    )


def _devices(environment: Mapping[str, Any]) -> str:
    n = environment.get("devices", 1)
    return f" as {n} devices" if n > 1 else ""


def extent(rows: Sequence[Row]) -> list[str]:
    """How many cells were timed, and why others were not."""
    e, timed = rows[0]["environment"], [row for row in rows if not row["error"]]
    text = [f"{len(timed)} of {len(rows)} cells timed on {e['device']} ({e['backend']}, {e['dtype']}, jax {e['jax']})."]
    return text + [f"Not timed: {name(row)}: {row['error']}." for row in rows if row["error"]]


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(math.log(value) for value in values))


def listed(cells: Sequence[tuple[Row, Ratio]]) -> str:
    """The cells by name, to end a sentence."""
    names = ", ".join(f"{name(row)} ({interval(r)})" for row, r in cells)
    return f": {names}." if names else "."


def tally(cells: Sequence[tuple[Row, Ratio]]) -> str:
    """How often manual is faster, no different and slower, to end a sentence that begins with it."""
    verdicts = [r.verdict for _, r in cells]
    return (
        f"faster in {verdicts.count('manual faster')}, no different in {verdicts.count('no difference')}, "
        f"slower in {verdicts.count('manual slower')}"
        + listed([(row, r) for row, r in cells if r.verdict == "manual slower"])
    )


def failing(controls: Sequence[tuple[Row, Ratio]]) -> str:
    """The cells that are too noisy to tell."""
    noisy = [(row, r) for row, r in controls if not r.passes_as_control]
    return f"The control fails in {len(noisy)} of {len(controls)} cells{listed(noisy)}"


def align(header: Sequence[str], body: Sequence[Sequence[str]], words: Collection[str]) -> str:
    """A Markdown table that reads as well unrendered: columns of words to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    left = [title in words for title in header]
    lines = [
        "| " + " | ".join(c.ljust(w) if l else c.rjust(w) for c, w, l in zip(cells, widths, left, strict=True)) + " |"
        for cells in (header, *body)
    ]
    rule = "|".join(":" + "-" * (w + 1) if l else "-" * (w + 1) + ":" for w, l in zip(widths, left, strict=True))
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])
