"""Rows of results as text: a line for each cell, a table, the exponents, and what they show in words."""

from collections.abc import Sequence

from benchmarks.records import Row
from benchmarks.scaling.exponents import ABOVE_SMALLEST, POINTS, Series, exponent, fitted, series, size_of
from benchmarks.text import align, control, extent, failing, interval, median_of, name, ratio_of, seconds, tally

PROGRAMS = ("manual", "autodiff", "control")
WORDS = ("grows", "network", "verdict")
PARTS = {"batch_size": "batch size", "width": "width", "depth": "depth"}


def line(row: Row) -> str:
    """A finished cell in one line."""
    if row["error"]:
        return f"{name(row)}: {row['error']}"
    return (
        f"{name(row)}: manual {seconds(median_of(row, 'manual'))}, "
        f"manual / autodiff {interval(ratio_of(row, 'manual', 'autodiff'))}"
    )


def page(rows: Sequence[Row]) -> str:
    """All there is to read."""
    return f"{times(rows)}\n\n{exponents(rows)}\n\n{summary(rows)}\n\n{NOTES}"


def times(rows: Sequence[Row]) -> str:
    """The main table; + marks the sizes that are fitted."""
    header = ("grows", "network", "batch", "size", "manual", "autodiff", "manual / autodiff", "verdict", "control")
    fits = {name(row) for of in series(rows) if (chosen := fitted(of)) for row in chosen.cells}
    body = []
    for row in rows:
        mark = " +" if name(row) in fits else "  "
        cell = [PARTS[row["part"]], row["network"], f"{row['batch_size']:,}", f"{size_of(row):,}{mark}"]
        if row["error"]:
            body.append([*cell, "", "", "", "not timed", ""])
            continue
        found = ratio_of(row, "manual", "autodiff")
        cell += [seconds(median_of(row, "manual")), seconds(median_of(row, "autodiff")), interval(found), found.verdict]
        body.append([*cell, control(ratio_of(row, "control", "autodiff"))])
    return align(header, body, WORDS)


def title(of: Series) -> str:
    """What grows, and on what."""
    first = of.cells[0]
    if of.part == "batch_size":
        return f"batch size, {of.network}"
    layers, width = len(first["sizes"]) - 1, first["sizes"][0]
    fixed = f"{layers} layers" if of.part == "width" else f"width {width:,}"
    return f"{PARTS[of.part]}, {fixed}, batch {first['batch_size']:,}"


def exponents(rows: Sequence[Row]) -> str:
    """By which power of each size time grows."""
    text = []
    for of in series(rows):
        if chosen := fitted(of):
            slopes = ", ".join(f"{exponent(chosen, program)} ({program})" for program in ("manual", "autodiff"))
            sizes = ", ".join(f"{size:,}" for size in chosen.sizes)
            text.append(f"- {title(of)}: time grows with the size to the power {slopes}, fitted at {sizes}.")
        else:
            text.append(f"- {title(of)}: fewer than {POINTS} sizes timed, too few for a fit.")
    return "\n".join(text) or "- Nothing timed, nothing fitted."


def summary(rows: Sequence[Row]) -> str:
    """What the rows show, in one paragraph."""
    timed = [row for row in rows if not row["error"]]
    found = [(row, ratio_of(row, "manual", "autodiff")) for row in timed]
    controls = [(row, ratio_of(row, "control", "autodiff")) for row in timed]
    return " ".join([*extent(rows), f"Manual is {tally(found)}", failing(controls)])


NOTES = f"""\
Times are medians per call, examples in columns. A ratio is the median of the ratios within each round, with its 95 %
bootstrap interval; "no difference" where that includes 1. The control is a second copy of `autodiff` over the first; *
marks where its interval does not lie in [0.95, 1.05], a cell too noisy to tell. A power is the least-squares slope of
log time against log size over the sizes marked +: from the first at which `autodiff` takes {ABOVE_SMALLEST} times as
long as at the smallest, where overhead is at most a tenth, and at least the {POINTS} largest. Its interval, 95 % by
bootstrap over the rounds, says how far their noise moves the slope, not whether the points lie on a line.
"""
