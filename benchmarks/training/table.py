"""The report of training: a table for each part, and a summary in words."""

import statistics
from collections.abc import Sequence

from benchmarks import rows, text
from benchmarks.display import Page, Table, notes
from benchmarks.records import Row
from benchmarks.rows import QUIET, median_of, not_run, ratio_of, timed, told, was_timed
from benchmarks.timing import Ratio
from benchmarks.training.accuracy import GOAL

OTHERS = (
    "optax_scan",
    "optax_loop",
    "manual_loop",
    "nnx",
    "torch_eager",
    "torch_compile",
    "sklearn",
    "manual_fused",
    "torch_graph",
)
ON_GPU = ("manual_fused", "torch_graph")
UNITS = {"step": "a step", "accuracy": f"to {GOAL:.0%} of the digits", "ensemble": "an epoch of all"}


def line(row: Row) -> str:
    """The time of manual and, over it, those of the others; apart from them what is too noisy to tell."""
    found: dict[bool, list[str]] = {True: [], False: []}
    for program in others(row):
        r = slower(row, program)
        found[rows.is_told(row, r)].append(f"{program} {text.number(r.median)}")
    lists = [
        f"{title}: {', '.join(of)}"
        for title, of in (("times as long", found[True]), (rows.TOO_NOISY, found[False]))
        if of
    ]
    return "; ".join([f"manual {text.seconds(time_of(row, 'manual'))} {UNITS[row['part']]}", *lists])


def page(all_rows: Sequence[Row]) -> Page:
    """The whole report."""
    tables = {"step": steps, "accuracy": accuracies, "ensemble": ensembles}
    found = [(of, [row for row in all_rows if row["part"] == part]) for part, of in tables.items()]
    return [*(of(part) for of, part in found if part), summary(all_rows), NOTES]


def ratio(row: Row) -> Ratio:
    """The ratio by which a cell is judged: the time of its baseline over that of manual."""
    return slower(row, rows.references(row).baseline)


def others(row: Row) -> list[str]:
    """The programs of a cell that were timed, in addition to manual and the control."""
    return [program for program in (*OTHERS, "one_by_one") if was_timed(row, program)]


def slower(row: Row, program: str) -> Ratio:
    """The time of a program over that of manual."""
    return ratio_of(row, program, "manual")


def is_quiet(row: Row) -> bool:
    """Whether other processes took little of the cores' time, as far as that is known."""
    return (row["others_cpu"] or 0.0) <= QUIET


def time_of(row: Row, program: str) -> float:
    """The median time of a program in seconds, in the part "step" of one step."""
    return median_of(row, program) / (row["steps"] if row["part"] == "step" else 1)


def steps(measured: Sequence[Row]) -> Table:
    """The time of each program over manual's, cell by cell."""
    ratios = {
        f"{program} / manual": lambda row, p=program: _verdict(row, slower(row, p)) if was_timed(row, p) else "not run"
        for program in OTHERS
        if program not in ON_GPU or any(was_timed(row, program) for row in measured)
    }
    columns = {"manual, a step": lambda row: text.seconds(time_of(row, "manual")), **ratios, **NOISE}
    return text.table(measured, text.NETWORK, columns)


def accuracies(measured: Sequence[Row]) -> Table:
    """The times until a given share of the held-out digits is classified correctly."""
    header = (*text.NETWORK, "program", "time", "program / manual", "epochs", "accuracy", "first call", *NOISE)
    body = []
    for row in timed(measured):
        network, noise = ([column(row) for column in columns.values()] for columns in (text.NETWORK, NOISE))
        for program in ("manual", *others(row)):
            found, over = row["programs"][program], "" if program == "manual" else _verdict(row, slower(row, program))
            times = [text.seconds(time_of(row, program)), over, str(found["epochs"]), f"{found['accuracy']:.2%}"]
            body.append([*network, program, *times, text.seconds(found["first_s"]), *noise])
    return Table(header, body, 3)


def ensembles(measured: Sequence[Row]) -> Table:
    """The times of networks that are trained in one call, and one after the other."""
    columns = {
        "at once": lambda row: text.seconds(time_of(row, "manual")),
        "one by one": lambda row: text.seconds(time_of(row, "one_by_one")),
        "one by one / at once": lambda row: _verdict(row, slower(row, "one_by_one")),
        **NOISE,
    }
    return text.table(timed(measured), {**text.NETWORK, "networks": lambda row: str(row["members"])}, columns)


def summary(all_rows: Sequence[Row]) -> str:
    """The results in words, a line for each program."""
    measured = timed(all_rows)
    lines = [text.extent(all_rows), *_not_run(measured)]
    if not measured:
        return lines[0]
    steps = [row for row in measured if row["part"] == "step"]
    for program in OTHERS:
        found = [(row, slower(row, program)) for row in steps if was_timed(row, program)]
        if clear := [r.median for _, r in told(found)]:
            lines.append(
                f"- A step of {program} takes {text.number(text.geometric_mean(clear))} times as long as manual's in "
                f"the geometric mean of {len(clear)} cells: manual is {text.tally(found, manual_above=False)}"
            )
        elif found:
            lines.append(f"- A step of {program}: all {len(found)} cells are {rows.TOO_NOISY}.")
    if steps:
        firsts = {p: [row["programs"][p]["first_s"] for row in steps if was_timed(row, p)] for p in ("manual", *OTHERS)}
        medians = ", ".join(f"{p} {text.seconds(statistics.median(times))}" for p, times in firsts.items() if times)
        lines.append(f"- First call, median over cells: {medians}.")
    lines.append(f"- {text.failing_controls(measured)}")
    busy = len(measured) - sum(map(is_quiet, measured))
    lines.append(f"- Other processes took more than {QUIET:.0%} of the cores' time in {busy} cells.")
    lines.append(f"- Against the baseline {text.sureness([(row, ratio(row)) for row in measured])}")
    return "\n".join(lines)


def _verdict(row: Row, r: Ratio) -> str:
    same = f"no difference [{text.number(r.low)}, {text.number(r.high)}]  "
    return same if r.includes_one and rows.is_told(row, r) else text.judged(row, r)


def _others_cpu(row: Row) -> str:
    share = row["others_cpu"]
    return "?" if share is None else f"{share:.0%}" + ("  " if is_quiet(row) else " *")


def _not_run(measured: Sequence[Row]) -> list[str]:
    """The programs that were not run, once for each reason."""
    found = [(program, not_run(row, program)) for row in measured for program in row["programs"]]
    return [f"- Not run: {program}: {reason}." for program, reason in dict.fromkeys(found) if reason]


# The columns that show whether a cell is too noisy to tell
NOISE: text.Columns = {"control": text.control, "others": _others_cpu}
NOTES = notes(f"""
Times are medians: of a step (a call takes several), of a training, or of an epoch of all networks. {text.RATIO_NOTE}
Above 1, manual is faster. All programs start from the same weights, see the same examples in the same order, and end a
call with all results computed. `manual` is one call of `bp.train_epoch`, and `optax_scan` autodiff with optax in one
program; `optax_loop`, `manual_loop`, `nnx` and `torch_compile` call a compiled step from Python.
{text.CONTROL_NOTE.format("optax_scan")} In ensembles it is that of `one_by_one`. `others` is the share of all cores'
time that other processes took, marked with * above {QUIET:.0%}: then too the cell is too noisy to tell. The threads of
PyTorch and scikit-learn wait for each other, and then take many times as long, which the control does not show.
`manual`, `optax_scan` and `sklearn` draw the order of the examples within the call; the others are given it. The first
call includes compiling; torch.compile reads from disk what an earlier run compiled.
""")
