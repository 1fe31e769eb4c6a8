"""Rows of results as text: a line for each cell, tables, and what they show in words."""

from collections.abc import Sequence

from benchmarks.gradients.programs import flops
from benchmarks.records import Row
from benchmarks.text import (
    align,
    control,
    extent,
    geometric_mean,
    interval,
    listed,
    median_of,
    name,
    ratio_of,
    seconds,
    tally,
)

WORDS = ("network", "verdict")


def line(row: Row) -> str:
    """A finished cell in one line."""
    if row["error"]:
        return f"{name(row)}: {row['error']}"
    found = ratio_of(row, "manual", "autodiff")
    return f"{name(row)}: manual / autodiff {interval(found)}, {found.verdict}"


def page(rows: Sequence[Row]) -> str:
    """All there is to read."""
    text = f"{times(rows)}\n\n{summary(rows)}\n\n{NOTES}"
    timed = [row for row in rows if not row["error"]]
    return f"{text}\n{preparation(timed)}\n" if timed else text


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
        found = ratio_of(row, "manual", "autodiff")
        share = flops(row["sizes"], row["batch_size"]) / median_of(row, "manual") / row["matmul_flops_per_s"]
        cell += [seconds(median_of(row, "manual")), seconds(median_of(row, "autodiff"))]
        cell += [interval(found), found.verdict, interval(ratio_of(row, "manual", "autodiff_rows"))]
        body.append([*cell, control(ratio_of(row, "control", "autodiff")), f"{share:.0%}"])
    return align(header, body, WORDS)


def preparation(rows: Sequence[Row]) -> str:
    """What comes before the first call, and the memory it takes: manual, autodiff, autodiff over rows."""
    names = ("manual", "autodiff", "autodiff_rows")
    header = ("network", "batch", "lower (ms)", "compile (ms)", "temporary memory (MB)")
    body = []
    for row in rows:
        programs = [row["programs"][name] for name in names]
        lower, compile = (" / ".join(f"{p[key] * 1e3:.0f}" for p in programs) for key in ("lower_s", "compile_s"))
        memory = " / ".join("?" if p["temp_bytes"] is None else f"{p['temp_bytes'] / 1e6:.3g}" for p in programs)
        body.append([row["network"], f"{row['batch_size']:,}", lower, compile, memory])
    return align(header, body, WORDS)


def summary(rows: Sequence[Row]) -> str:
    """What the rows show, in one paragraph."""
    timed = [row for row in rows if not row["error"]]
    text = extent(rows)
    if not timed:
        return " ".join(text)
    found = [(row, ratio_of(row, "manual", "autodiff")) for row in timed]
    text.append(f"Against autodiff of the same convention, manual is {tally(found)}")
    means = {
        network: geometric_mean([r.median for row, r in found if row["network"] == network])
        for network in dict.fromkeys(row["network"] for row in timed)
    }
    text.append(
        "Geometric mean of the ratio: " + ", ".join(f"{network} {mean:.2f}" for network, mean in means.items()) + "; "
        f"against examples in rows, over all cells, "
        f"{geometric_mean([ratio_of(row, 'manual', 'autodiff_rows').median for row in timed]):.2f}."
    )
    passing = [(row, r) for row, r in found if ratio_of(row, "control", "autodiff").passes_as_control]
    over = [(row, r) for row, r in passing if r.high > 1.05]
    text.append(
        f"The control passes in {len(passing)} cells, its interval in [0.95, 1.05]; "
        f"in {len(over)} of these manual's interval reaches above 1.05" + listed(over)
    )
    return " ".join(text)


NOTES = """\
Times are medians per call. A ratio is the median of the ratios within each round, with its 95 % bootstrap interval;
"no difference" where that includes 1. `autodiff` keeps examples in columns, as `manual` does, and `autodiff, rows` in
rows. The control is a second copy of `autodiff` over the first: it passes where its interval lies in [0.95, 1.05], and
* marks where it does not, a cell too noisy to tell. `matmul` is the FLOP/s of `manual` as a share of those of a square
matrix product in the same run.
"""
