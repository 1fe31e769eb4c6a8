"""Rows of results as text: a line for each cell, aligned Markdown tables, and what they show in words."""

import math
import statistics
from collections.abc import Sequence

from benchmarks import cases
from benchmarks.records import Row
from benchmarks.timing import Ratio, ratio


def ratio_of(row: Row, numerator: str, denominator: str) -> Ratio:
    """The ratio of two programs of a cell that was timed."""
    return ratio(row["programs"][numerator]["times_s"], row["programs"][denominator]["times_s"])


def median_of(row: Row, program: str) -> float:
    """A program's median time in seconds."""
    return statistics.median(row["programs"][program]["times_s"])


def line(row: Row) -> str:
    """A finished cell in one line."""
    name = f"{row['network']} at {row['batch_size']:,}"
    if row["error"]:
        return f"{name}: {row['error']}"
    found = ratio_of(row, "manual", "autodiff")
    return f"{name}: manual / autodiff {_interval(found)}, {found.verdict}"


def times(rows: Sequence[Row]) -> str:
    """The main table."""
    header = (
        "network",
        "batch",
        "manual",
        "autodiff",
        "manual / autodiff",
        "verdict",
        "manual / autodiff, rows",
        "control",
        "matmul",
    )
    body = []
    for row in rows:
        cell = [row["network"], f"{row['batch_size']:,}"]
        if row["error"]:
            body.append([*cell, "", "", "", "not timed", "", "", ""])
            continue
        found, control = ratio_of(row, "manual", "autodiff"), ratio_of(row, "control", "autodiff")
        share = cases.flops(row["sizes"], row["batch_size"]) / median_of(row, "manual") / row["matmul_flops_per_s"]
        cell += [_time(median_of(row, "manual")), _time(median_of(row, "autodiff"))]
        cell += [_interval(found), found.verdict, _interval(ratio_of(row, "manual", "autodiff_rows"))]
        body.append([*cell, _interval(control) + (" *" if not control.passes_as_control else "  "), f"{share:.0%}"])
    return _align(header, body)


def preparation(rows: Sequence[Row]) -> str:
    """What comes before the first call, and the memory it takes: manual, autodiff, autodiff over rows."""
    names = ("manual", "autodiff", "autodiff_rows")
    header = ("network", "batch", "lower (ms)", "compile (ms)", "temporary memory (MB)")
    body = []
    for row in rows:
        if not row["error"]:
            programs = [row["programs"][name] for name in names]
            lower, compile = (" / ".join(f"{p[key] * 1e3:.0f}" for p in programs) for key in ("lower_s", "compile_s"))
            memory = " / ".join("?" if p["temp_bytes"] is None else f"{p['temp_bytes'] / 1e6:.3g}" for p in programs)
            body.append([row["network"], f"{row['batch_size']:,}", lower, compile, memory])
    return _align(header, body)


def conditions(row: Row) -> str:
    """Where and with what a run was made."""
    e = row["environment"]
    return (
        f"{e['device']}, {e['threads']} threads, {e['platform']}; {e['dtype']}, matmul precision "
        f"{e['matmul_precision']}; jax {e['jax']}, jaxlib {e['jaxlib']}, numpy {e['numpy']}, Python {e['python']}; "
        f"commit {e['commit'] or 'unknown'}; {row['date']}. "
        f"A square matrix product ran at {row['matmul_flops_per_s'] / 1e9:,.0f} GFLOP/s."
    )


def summary(rows: Sequence[Row]) -> str:
    """What the rows show, in one paragraph."""
    timed = [row for row in rows if not row["error"]]
    e = rows[0]["environment"]
    text = [f"{len(timed)} of {len(rows)} cells timed on {e['device']} ({e['backend']}, {e['dtype']}, jax {e['jax']})."]
    text += [f"Not timed: {line(row)}." for row in rows if row["error"]]
    if not timed:
        return " ".join(text)
    found = [(row, ratio_of(row, "manual", "autodiff")) for row in timed]
    verdicts = [r.verdict for _, r in found]
    text.append(
        f"Against autodiff of the same convention, manual is faster in {verdicts.count('manual faster')}, "
        f"no different in {verdicts.count('no difference')}, slower in {verdicts.count('manual slower')}"
        + _listed([(row, r) for row, r in found if r.verdict == "manual slower"])
    )
    means = {
        name: _geometric_mean([r.median for row, r in found if row["network"] == name])
        for name in dict.fromkeys(row["network"] for row in timed)
    }
    text.append(
        "Geometric mean of the ratio: " + ", ".join(f"{name} {mean:.2f}" for name, mean in means.items()) + "; "
        f"against examples in rows, over all cells, "
        f"{_geometric_mean([ratio_of(row, 'manual', 'autodiff_rows').median for row in timed]):.2f}."
    )
    passing = [(row, r) for row, r in found if ratio_of(row, "control", "autodiff").passes_as_control]
    over = [(row, r) for row, r in passing if r.high > 1.05]
    text.append(
        f"The control passes in {len(passing)} cells, its interval in [0.95, 1.05]; "
        f"in {len(over)} of these manual's interval reaches above 1.05" + _listed(over)
    )
    return " ".join(text)


NOTES = """\
Times are medians per call. A ratio is the median of the ratios within each round, with its 95 % bootstrap interval;
"no difference" where that includes 1. `autodiff` keeps examples in columns, as `manual` does, and `autodiff, rows` in
rows. The control is a second copy of `autodiff` over the first: it passes where its interval lies in [0.95, 1.05], and
* marks where it does not, a cell too noisy to tell. `matmul` is the FLOP/s of `manual` as a share of those of a square
matrix product in the same run.
"""


def _geometric_mean(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(math.log(value) for value in values))


def _listed(cells: Sequence[tuple[Row, Ratio]]) -> str:
    names = ", ".join(f"{row['network']} at {row['batch_size']:,} ({_interval(r)})" for row, r in cells)
    return f": {names}." if names else "."


def _interval(r: Ratio) -> str:
    return f"{r.median:.2f} [{r.low:.2f}, {r.high:.2f}]"


def _time(seconds: float) -> str:
    unit, scale = next((u, s) for u, s in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)) if seconds >= s or u == "µs")
    value = seconds / scale
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"


def _align(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table that reads as well unrendered: words to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    left = [title in ("network", "verdict") for title in header]
    lines = [
        "| " + " | ".join(c.ljust(w) if l else c.rjust(w) for c, w, l in zip(cells, widths, left, strict=True)) + " |"
        for cells in (header, *body)
    ]
    rule = "|".join(":" + "-" * (w + 1) if l else "-" * (w + 1) + ":" for w, l in zip(widths, left, strict=True))
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])
