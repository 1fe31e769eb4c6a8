"""The report of gradients: tables of times, of memory and compile time, and of growth, and a summary in words."""

import statistics
from collections.abc import Sequence

from benchmarks import rows, text
from benchmarks.display import Notes, Page, Table, notes
from benchmarks.gradients import growth
from benchmarks.gradients.programs import flops
from benchmarks.records import Row
from benchmarks.rows import control_of, median_of, name, ratio_of, timed, told, verdict, was_timed
from benchmarks.timing import Ratio

PROGRAMS = ("manual", "autodiff", "autodiff_rows")
OTHERS = {
    "autodiff_blocks": "autodiff in blocks",
    "manual_one_device": "manual on one device",
    "fused": "the fused kernel",
    "torch_eager": "PyTorch",
    "torch_compile": "torch.compile",
}
LIMITS, WORST = (1.05, 1.15), 10
NOISY_CELLS = (
    "In the others two copies of one program differed by more than 5 %, or the ratio varied by more than a factor of "
    f"{rows.SPREAD}."
)
BASELINES = {"autodiff": "autodiff", "autodiff_rows": "autodiff over rows", **OTHERS}


def line(row: Row) -> str:
    found = ratio(row)
    return f"manual / autodiff {text.interval(found)}, {verdict(row, found)}"


def page(all_rows: Sequence[Row]) -> Page:
    """The whole report."""
    measured = timed(all_rows)
    tables = [*others(measured), *memory_and_compiling(measured), *exponents(measured)]
    return [times(all_rows), *tables, summary(all_rows), NOTES]


def ratio(row: Row) -> Ratio:
    return ratio_of(row, "manual", "autodiff")


def times(all_rows: Sequence[Row]) -> Table:
    """The main table."""
    columns = {
        "manual": lambda row: text.seconds(median_of(row, "manual")),
        "autodiff": lambda row: text.seconds(median_of(row, "autodiff")),
        "manual / autodiff": lambda row: _over(row, "autodiff"),
        "verdict": lambda row: verdict(row, ratio(row)),
        "manual / autodiff, rows": lambda row: _over(row, "autodiff_rows"),
        "control": text.control,
        "matmul": lambda row: f"{_share_of_matmul(row):.0%}",
    }
    return text.table(all_rows, text.NETWORK, columns)


def others(measured: Sequence[Row]) -> list[Table | Notes]:
    """The ratios of manual to programs that were not timed in every cell; empty if none was timed."""
    cells = [row for row in measured if any(was_timed(row, program) for program in OTHERS)]
    titles = {program: title for program, title in OTHERS.items() if any(was_timed(row, program) for row in cells)}
    columns = {f"manual / {title}": lambda row, p=program: _over(row, p) for program, title in titles.items()}
    return [text.table(cells, text.NETWORK, {**columns, "control": text.control}), OTHERS_NOTES] if cells else []


def memory_and_compiling(measured: Sequence[Row]) -> list[Table]:
    """Temporary memory, and the times of lowering and compiling; empty if no row was timed."""
    columns = {
        "memory, manual": lambda row: text.size(temporary(row, "manual")),
        "memory, autodiff": lambda row: text.size(temporary(row, "autodiff")),
        "memory, rows": lambda row: text.size(temporary(row, "autodiff_rows")),
        "manual / autodiff": lambda row: "" if (r := memory_ratio(row)) is None else text.number(r),
        "lowering (ms)": lambda row: _milliseconds(row, 0),
        "compiling (ms)": lambda row: _milliseconds(row, 1),
    }
    return [text.table(measured, text.NETWORK, columns)] if measured else []


def temporary(row: Row, program: str) -> int | None:
    """The temporary memory of a program in bytes, if it is known."""
    return row["programs"].get(program, {}).get("temp_bytes")


def memory_ratio(row: Row) -> float | None:
    """The temporary memory of manual over autodiff's, if both need some and it is known."""
    manual, autodiff = temporary(row, "manual"), temporary(row, "autodiff")
    return manual / autodiff if manual and autodiff else None


def preparation(row: Row, program: str) -> tuple[float, float] | None:
    """The seconds of lowering and of compiling; None if unknown, or if JAX had compiled the program before."""
    found = row["programs"].get(program, {})
    lower, compile = found.get("lower_s"), found.get("compile_s")
    return (lower, compile) if compile and compile > 1e-3 else None


def exponents(measured: Sequence[Row]) -> list[Table | Notes]:
    """The powers with which time grows with each size; empty if no size was varied enough."""
    body = []
    for series in growth.all_series(measured):
        if len(series.sizes) >= growth.LEAST:
            fitted = growth.fitted(series)
            slopes = [str(growth.exponent(fitted, program)) for program in ("manual", "autodiff")]
            body.append([series.varied, series.fixed, ", ".join(f"{n:,}" for n in fitted.sizes), *slopes])
    header = ("grows with", "fixed", "fitted at", "power, manual", "power, autodiff")
    return [Table(header, body, 3), GROWTH_NOTES] if body else []


def summary(all_rows: Sequence[Row]) -> str:
    """The results in words: a sentence on the extent, and a line for each baseline, memory and compile time."""
    measured = timed(all_rows)
    lines = [text.extent(all_rows)]
    for program, title in BASELINES.items():
        found = [(row, ratio_of(row, "manual", program)) for row in measured if was_timed(row, program)]
        if found:
            lines.append(f"- {_against(title, found)}")
    lines += _against_the_faster(measured)
    memory = [(row, r) for row in measured if (r := memory_ratio(row))]
    if memory:
        ratios = [r for _, r in memory]
        more = [f"{name(row)} ({text.number(r)})" for row, r in memory if r > 1]
        lines.append(
            f"- Manual needs {text.number(text.geometric_mean(ratios))} of the memory of autodiff in the geometric "
            f"mean, from {text.number(min(ratios))} to {text.number(max(ratios))}; more in {len(more)} of "
            f"{len(memory)} cells{': ' + ', '.join(more) if more else ''}."
        )
    pairs = [(preparation(row, "manual"), preparation(row, "autodiff")) for row in measured]
    if compiled := [sum(manual) / sum(autodiff) for manual, autodiff in pairs if manual and autodiff]:
        median = text.number(statistics.median(compiled))
        lines.append(
            f"- Lowering and compiling manual takes {median} of the time of autodiff in the median over cells."
        )
    if measured:
        passing = sum(control_of(row).passes_as_control for row in measured)
        lines.append(f"- The control passes in {passing} of {len(measured)} cells.")
        lines.append(f"- Against autodiff {text.sureness([(row, ratio(row)) for row in measured])}")
    return "\n".join(lines)


def ending(all_rows: Sequence[Row]) -> list[str]:
    """The result of a run in two lines: which is faster and by how much, and how sure that is."""
    cells = [(row, ratio(row)) for row in timed(all_rows)]
    if not cells:
        return ["No cell was timed."]
    if medians := [r.median for _, r in told(cells)]:
        mean = text.geometric_mean(medians)
        which = "faster than" if mean < 0.98 else "slower than" if mean > 1.02 else "about as fast as"
        first = (
            f"Manual is {which} autodiff: it takes {text.number(mean)} of the time in the geometric mean of "
            f"{len(medians)} cells, from {text.number(min(medians))} to {text.number(max(medians))}; "
            f"{text.counts(told(cells))}."
        )
    else:
        first = "Whether manual is faster than autodiff cannot be told."
    return [first, f"How sure: {text.sureness(cells, NOISY_CELLS)}"]


def _against(title: str, found: Sequence[tuple[Row, Ratio]]) -> str:
    clear = told(found)
    if not clear:
        return f"Manual against {title}: all {len(found)} cells are {rows.TOO_NOISY}."
    over = [(row, r) for row, r in clear if r.high > 1.05]
    means = {
        network: text.geometric_mean([r.median for row, r in clear if row["network"] == network])
        for network in dict.fromkeys(row["network"] for row, _ in clear)
    }
    each = ", ".join(f"{network} {text.number(mean)}" for network, mean in means.items())
    each = f" ({each})" if 1 < len(means) < 8 else ""
    mean = text.number(text.geometric_mean([r.median for _, r in clear]))
    return (
        f"Manual takes {mean} of the time of {title} in the geometric mean of {len(clear)} cells{each}: it is "
        f"{text.tally(found)} The interval reaches above 1.05 in {len(over)} of {len(clear)}{text.listed(over)}"
    )


def _against_the_faster(measured: Sequence[Row]) -> list[str]:
    """A line on manual against the faster of the two conventions in each cell, with the worst cells."""
    found = []
    for row in (row for row in measured if was_timed(row, "autodiff_rows")):
        faster = min(("autodiff", "autodiff_rows"), key=lambda program: median_of(row, program))
        found.append((row, ratio_of(row, "manual", faster)))
    if not (clear := sorted(told(found), key=lambda cell: -cell[1].median)):
        return []
    over = " and ".join(f"{sum(r.median > limit for _, r in clear)} above {limit}" for limit in LIMITS)
    return [
        f"- Against the faster of the two conventions manual takes "
        f"{text.number(text.geometric_mean([r.median for _, r in clear]))} of the time in the geometric mean of "
        f"{len(clear)} cells, {over}. The worst{text.listed(clear[:WORST])}"
    ]


def _over(row: Row, program: str) -> str:
    return text.judged(row, ratio_of(row, "manual", program)) if was_timed(row, program) else ""


def _share_of_matmul(row: Row) -> float:
    return flops(row["sizes"], row["batch_size"]) / median_of(row, "manual") / row["matmul_flops_per_s"]


def _milliseconds(row: Row, step: int) -> str:
    """The times of lowering (step 0) or compiling (step 1) manual, autodiff and autodiff over rows."""
    found = [preparation(row, program) for program in PROGRAMS]
    return " / ".join(f"{times[step] / 1e-3:.0f}" if times else "?" for times in found)


NOTES = notes(f"""
Times are medians per call. {text.RATIO_NOTE} `manual` and `autodiff` keep examples in columns, `autodiff, rows` in
rows. {text.CONTROL_NOTE.format("autodiff")} `matmul` is the FLOP/s of `manual` as a share of those of a square matrix
product in the same run. Memory is temporary memory: the most that a compiled call holds at one time in addition to its
arguments and results, as the compiler reports it. Lowering and compiling are each timed once, in the order `manual`,
`autodiff`, `autodiff, rows`; ? means unknown. A cell whose programs disagree is not timed: one ReLU unit whose input is
within rounding of 0, active in one program and not in another, is enough.

An interval covers the variation within a run, not that between runs, such as the addresses of arrays: ratios of two
runs of the same code mostly lie within 0.1 of each other.
""")
OTHERS_NOTES = notes("""
`autodiff in blocks` takes the same number of examples at a time as `manual`, and adds up in a scan. `manual on one
device` takes these blocks without the mesh.
""")
GROWTH_NOTES = notes(f"""
A power p means that time grows as the size to the p. It is the slope of log time against log size, fitted from the
first size at which `autodiff` takes {growth.OVERHEAD} times as long as at the smallest, so that overhead is at most a
tenth, or at the {growth.FITTED} largest sizes. Its 95 % interval, by bootstrap, covers the noise of the rounds, not the
distance of the points from a line.
""")
