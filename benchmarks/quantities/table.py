"""Rows of results as text: a line for each cell, what each quantity gains over all cells, and the cells one by one."""

from collections import Counter
from collections.abc import Sequence

from benchmarks.records import Row
from benchmarks.text import align, control, extent, figure, interval, median_of, name, ratio_of, seconds, size
from benchmarks.timing import Ratio

NEARLY_FREE = 1.2  # times the plain gradient
SPEED, MEMORY, COST = "speed: autodiff / manual", "memory: autodiff / manual", "time: manual / gradient"
WORDS = ("quantity", "network")


def line(row: Row) -> str:
    """A finished cell in one line."""
    if row["error"]:
        return f"{name(row)}: {row['error']}"
    found = speed(row)
    against = f"autodiff not run, {_not_run(row)}" if found is None else f"{interval(found)} times as fast as autodiff"
    return f"{name(row)}: {against}; {interval(cost(row))} times the plain gradient"


def page(rows: Sequence[Row]) -> str:
    """All there is to read."""
    return f"{ranges(rows)}\n\n{cells(rows)}\n\n{summary(rows)}\n\n{NOTES}"


def speed(row: Row) -> Ratio | None:
    """How many times as fast as autodiff, where that was run."""
    return None if _not_run(row) else ratio_of(row, "autodiff", "manual")


def cost(row: Row) -> Ratio:
    """The time of the quantity, pass included, over that of the plain gradient."""
    return ratio_of(row, "manual", "gradient")


def memory(row: Row) -> float | None:
    """How many times the temporary memory autodiff needs, where both need some and the compiler says how much."""
    manual, autodiff = (row["programs"][program]["temp_bytes"] for program in ("manual", "autodiff"))
    return autodiff / manual if manual and autodiff else None


def ranges(rows: Sequence[Row]) -> str:
    """What each quantity gains, from the lowest cell to the highest."""
    header = ("quantity", SPEED, MEMORY, COST)
    body = []
    for quantity in dict.fromkeys(row["quantity"] for row in rows):
        timed = [row for row in rows if row["quantity"] == quantity and not row["error"]]
        speeds = [found.median for row in timed if (found := speed(row))]
        memories = [found for row in timed if (found := memory(row))]
        body.append([quantity, *(_range(x) for x in (speeds, memories, [cost(row).median for row in timed]))])
    return align(header, body, WORDS)


def cells(rows: Sequence[Row]) -> str:
    """The main table."""
    header = (
        *("quantity", "network", "batch", "manual", "autodiff", SPEED, COST, "control"),
        *("memory, manual", "memory, autodiff", MEMORY, "memory, gradient", "largest error"),
    )
    body = []
    for row in rows:
        cell = [row["quantity"], row["network"], f"{row['batch_size']:,}"]
        if row["error"]:
            body.append([*cell, "not timed", *[""] * (len(header) - 4)])
            continue
        programs, found, memories, errors = row["programs"], speed(row), memory(row), row["errors"].get("manual")
        cell += [seconds(median_of(row, "manual")), seconds(median_of(row, "autodiff")) if found else "not run"]
        cell += [interval(found) if found else "", interval(cost(row)), control(ratio_of(row, "control", "gradient"))]
        needed = {program: size(programs[program]["temp_bytes"]) for program in ("manual", "autodiff", "gradient")}
        cell += [needed["manual"], needed["autodiff"], figure(memories) if memories else "", needed["gradient"]]
        body.append([*cell, f"{max(errors.values()):.0e}" if errors else ""])
    return align(header, body, WORDS)


def summary(rows: Sequence[Row]) -> str:
    """What the rows show, in one paragraph."""
    timed = [row for row in rows if not row["error"]]
    text = extent(rows)
    text += [f"Autodiff not run: {name(row)}: {_not_run(row)}." for row in timed if _not_run(row)]
    verdicts = [(row["quantity"], r) for row in timed if (r := speed(row))]
    faster, slower = ([q for q, r in verdicts if holds(r)] for holds in (lambda r: r.low > 1, lambda r: r.high < 1))
    text.append(
        f"Manual is faster than autodiff in {len(faster)}, no different in "
        f"{len(verdicts) - len(faster) - len(slower)}, slower in {len(slower)}"
        + (f": {', '.join(f'{q} in {n}' for q, n in Counter(slower).items())}." if slower else ".")
    )
    text.append(
        f"It takes at most {NEARLY_FREE} times as long as the plain gradient in "
        f"{sum(cost(row).median <= NEARLY_FREE for row in timed)} of {len(timed)}. The control fails in "
        f"{sum(not ratio_of(row, 'control', 'gradient').passes_as_control for row in timed)}."
    )
    return " ".join(text)


NOTES = """\
Times are medians per call, of the backward pass and the quantity in one program. A ratio is the median of the ratios
within each round, with its 95 % bootstrap interval; `gradient` is the plain gradient by autodiff. The control is a
second copy of `gradient` over the first; * marks where its interval does not lie in [0.95, 1.05], a cell too noisy to
tell. Memory is what the compiled program needs beside its arguments and results. Autodiff's forms are the fastest that
were found, in benchmarks/quantities/baselines.py: where XLA fuses vmap(grad) with what follows, no example's gradient
is ever written out. The error is that of the leaf of `manual` that is furthest from autodiff, relative, in norm.
"""


def _not_run(row: Row) -> str | None:
    return row["programs"]["autodiff"].get("not_run")


def _range(values: Sequence[float]) -> str:
    if not values:
        return ""
    ends = [figure(end) for end in (min(values), max(values))]
    return " to ".join(dict.fromkeys(ends))
