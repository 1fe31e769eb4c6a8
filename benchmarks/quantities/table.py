"""The report of quantities: the gains of each quantity over all cells, the cells one by one, and a summary in words."""

from collections import Counter
from collections.abc import Sequence

from benchmarks import rows, text
from benchmarks.display import Page, Table, notes
from benchmarks.records import Row
from benchmarks.rows import control_of, median_of, name, not_run, ratio_of, timed, told
from benchmarks.timing import Ratio

NEARLY_FREE = 1.2  # times the plain gradient
SPEED, MEMORY, COST = "speed: autodiff / manual", "memory: autodiff / manual", "time: manual / gradient"


def line(row: Row) -> str:
    found = speed(row)
    against = (
        f"{text.in_words(row, found)} times as fast as autodiff"
        if found
        else f"autodiff not run, {not_run(row, 'autodiff')}"
    )
    return f"{against}; {text.in_words(row, cost(row))} times the plain gradient"


def page(all_rows: Sequence[Row]) -> Page:
    """The whole report."""
    return [ranges(all_rows), cells(all_rows), summary(all_rows), NOTES]


def ratio(row: Row) -> Ratio:
    """The ratio by which a cell is judged: the speed or, if autodiff was not run, the cost."""
    return speed(row) or cost(row)


def speed(row: Row) -> Ratio | None:
    """The time of autodiff over that of manual; None if autodiff was not run."""
    return None if not_run(row, "autodiff") else ratio_of(row, "autodiff", "manual")


def cost(row: Row) -> Ratio:
    """The time of the quantity, including the backward pass, over that of the plain gradient."""
    return ratio_of(row, "manual", "gradient")


def memory(row: Row) -> float | None:
    """The temporary memory of autodiff over that of manual, if both need some and it is known."""
    manual, autodiff = (row["programs"][program]["temp_bytes"] for program in ("manual", "autodiff"))
    return autodiff / manual if manual and autodiff else None


def ranges(all_rows: Sequence[Row]) -> Table:
    """The lowest and the highest gain of each quantity, where it can be told."""
    body = []
    for quantity in dict.fromkeys(row["quantity"] for row in all_rows):
        measured = [row for row in timed(all_rows) if row["quantity"] == quantity]
        speeds, costs = _speeds(measured), [(row, cost(row)) for row in measured]
        memories = [found for row in measured if (found := memory(row))]
        body.append([quantity, _range_of_told(speeds), _range(memories), _range_of_told(costs)])
    return Table(("quantity", SPEED, MEMORY, COST), body)


def cells(all_rows: Sequence[Row]) -> Table:
    """The main table."""
    columns = {
        "manual": lambda row: text.seconds(median_of(row, "manual")),
        "autodiff": lambda row: text.seconds(median_of(row, "autodiff")) if speed(row) else "not run",
        SPEED: lambda row: text.judged(row, found) if (found := speed(row)) else "",
        COST: lambda row: text.judged(row, cost(row)),
        "control": text.control,
        "memory, manual": lambda row: text.size(row["programs"]["manual"]["temp_bytes"]),
        "memory, autodiff": lambda row: text.size(row["programs"]["autodiff"]["temp_bytes"]),
        MEMORY: lambda row: text.number(found) if (found := memory(row)) else "",
        "memory, gradient": lambda row: text.size(row["programs"]["gradient"]["temp_bytes"]),
        "largest error": lambda row: f"{max(found.values()):.0e}" if (found := row["errors"].get("manual")) else "",
    }
    return text.table(all_rows, {"quantity": lambda row: row["quantity"], **text.NETWORK}, columns)


def summary(all_rows: Sequence[Row]) -> str:
    """The results in words, in one paragraph."""
    measured = timed(all_rows)
    lines = [text.extent(all_rows)]
    lines += [f"Autodiff not run: {name(row)}: {reason}." for row in measured if (reason := not_run(row, "autodiff"))]
    if not measured:
        return " ".join(lines)
    speeds, costs = _speeds(measured), [r for _, r in told([(row, cost(row)) for row in measured])]
    slower = Counter(row["quantity"] for row, r in told(speeds) if r.high < 1)
    lines.append(
        f"Manual against autodiff: {text.counts(speeds, manual_above=False)}"
        + (f": {', '.join(f'{quantity} in {n}' for quantity, n in slower.items())}." if slower else ".")
    )
    lines.append(
        f"Manual takes at most {NEARLY_FREE} times as long as the plain gradient in "
        f"{sum(r.median <= NEARLY_FREE for r in costs)} of {len(costs)} in which that can be told. The control fails "
        f"in {sum(not control_of(row).passes_as_control for row in measured)}."
    )
    lines.append(text.sureness([(row, ratio(row)) for row in measured]))
    return " ".join(lines)


def _speeds(measured: Sequence[Row]) -> list[tuple[Row, Ratio]]:
    """The cells in which autodiff was run, with their speeds."""
    return [(row, r) for row in measured if (r := speed(row))]


def _range_of_told(cells: Sequence[tuple[Row, Ratio]]) -> str:
    medians = [r.median for _, r in told(cells)]
    return rows.TOO_NOISY if cells and not medians else _range(medians)


def _range(values: Sequence[float]) -> str:
    if not values:
        return ""
    ends = [text.number(end) for end in (min(values), max(values))]
    return " to ".join(dict.fromkeys(ends))


NOTES = notes(f"""
Times are medians per call, of the backward pass and the quantity in one program. {text.RATIO_NOTE} `gradient` is the
plain gradient by autodiff. {text.CONTROL_NOTE.format("gradient")} Memory is what the compiled program needs in addition
to its arguments and results. Autodiff is in the fastest form that was found, in benchmarks/quantities/baselines.py: if
XLA fuses vmap(grad) with the operations that follow, no example's gradient is ever written out. The error is the
relative difference, in norm, of the leaf in which manual and autodiff differ most.
""")
