"""Rows of results as text: a line for each cell, a table for each part, and what they show in words."""

import statistics
from collections.abc import Sequence

from benchmarks.records import Row
from benchmarks.text import (
    align,
    control,
    extent,
    failing,
    figure,
    geometric_mean,
    interval,
    listed,
    median_of,
    name,
    ratio_of,
    seconds,
    was_timed,
)
from benchmarks.timing import Ratio
from benchmarks.training.accuracy import GOAL

OTHERS = ("optax_scan", "optax_loop", "manual_loop", "nnx", "torch_eager", "torch_compile", "sklearn")
REFERENCES = {"step": "optax_scan", "accuracy": "optax_scan", "ensemble": "one_by_one"}
WORDS = ("network", "program")
NOISE = ("control", "others")
QUIET = 0.05  # of the cores' time, that other processes may take


def line(row: Row) -> str:
    """A finished cell in one line."""
    if row["error"]:
        return f"{name(row)}: {row['error']}"
    found = ", ".join(f"{program} {figure(slower(row, program).median)}" for program in others(row))
    return f"{name(row)}: manual {seconds(time_of(row, 'manual'))}{_per(row)}; times as long: {found}"


def page(rows: Sequence[Row]) -> str:
    """All there is to read."""
    tables = {"step": steps, "accuracy": accuracies, "ensemble": ensembles}
    found = [(table, [row for row in rows if row["part"] == part]) for part, table in tables.items()]
    return "\n\n".join([*(table(of) for table, of in found if of), summary(rows), NOTES])


def others(row: Row) -> list[str]:
    """The programs of a cell that were timed, beside manual and the control."""
    return [program for program in (*OTHERS, "one_by_one") if was_timed(row, program)]


def slower(row: Row, program: str) -> Ratio:
    """How many times as long as manual a program takes."""
    return ratio_of(row, program, "manual")


def control_of(row: Row) -> Ratio:
    return ratio_of(row, "control", REFERENCES[row["part"]])


def is_quiet(row: Row) -> bool:
    """Whether other processes left the cores alone, as far as that is known."""
    return (row["others_cpu"] or 0.0) <= QUIET


def too_noisy(row: Row) -> bool:
    return not (is_quiet(row) and control_of(row).passes_as_control)


def time_of(row: Row, program: str) -> float:
    """A program's median seconds, in the part "step" of one step."""
    return median_of(row, program) / (row["steps"] if row["part"] == "step" else 1)


def steps(rows: Sequence[Row]) -> str:
    """Each program over manual, cell by cell."""
    header = ("network", "batch", "manual, a step", *(f"{program} / manual" for program in OTHERS), *NOISE)
    body = []
    for row in rows:
        cell = [row["network"], f"{row['batch_size']:,}"]
        if row["error"]:
            body.append([*cell, "not timed", *[""] * (len(header) - 3)])
            continue
        ratios = [_words(slower(row, p)) if p in others(row) else "not run" for p in OTHERS]
        body.append([*cell, seconds(time_of(row, "manual")), *ratios, *_noise(row)])
    return align(header, body, WORDS)


def accuracies(rows: Sequence[Row]) -> str:
    """Until a share of the digits held out is classified rightly."""
    header = ("network", "batch", "program", "time", "program / manual", "epochs", "accuracy", "first call", *NOISE)
    body = []
    for row in (row for row in rows if not row["error"]):
        for program in ("manual", *others(row)):
            found, time = row["programs"][program], time_of(row, program)
            ratio = "" if program == "manual" else _words(slower(row, program))
            told = [seconds(time), ratio, str(found["epochs"]), f"{found['accuracy']:.2%}", seconds(found["first_s"])]
            body.append([row["network"], f"{row['batch_size']:,}", program, *told, *_noise(row)])
    return align(header, body, WORDS)


def ensembles(rows: Sequence[Row]) -> str:
    """Networks trained by one program, and one after the other."""
    header = ("network", "batch", "networks", "at once", "one by one", "one by one / at once", *NOISE)
    body = []
    for row in (row for row in rows if not row["error"]):
        times = [seconds(time_of(row, program)) for program in ("manual", "one_by_one")]
        found = [_words(slower(row, "one_by_one")), *_noise(row)]
        body.append([row["network"], f"{row['batch_size']:,}", str(row["members"]), *times, *found])
    return align(header, body, WORDS)


def summary(rows: Sequence[Row]) -> str:
    """What the rows show in words, a line for each program."""
    timed = [row for row in rows if not row["error"]]
    text = [" ".join(extent(rows)), *_not_run(timed)]
    if not timed:
        return "\n".join(text)
    steps = [row for row in timed if row["part"] == "step"]
    quiet = [row for row in steps if is_quiet(row)]
    text += [_over_all(program, quiet) for program in OTHERS if any(program in others(row) for row in quiet)]
    if steps:
        firsts = {p: [row["programs"][p]["first_s"] for row in steps if was_timed(row, p)] for p in ("manual", *OTHERS)}
        told = ", ".join(f"{p} {seconds(statistics.median(times))}" for p, times in firsts.items() if times)
        text.append(f"- First call in the median over cells: {told}.")
    text.append(f"- {failing([(row, control_of(row)) for row in timed])}")
    busy = len(timed) - sum(map(is_quiet, timed))
    left_out = "; the means and counts above are without those" if len(quiet) < len(steps) else ""
    text.append(f"- Other processes took more than {QUIET:.0%} of the cores' time in {busy} cells{left_out}.")
    return "\n".join(text)


def _over_all(program: str, rows: Sequence[Row]) -> str:
    found = [(row, slower(row, program)) for row in rows if program in others(row)]
    ahead, behind = (
        [(row, r) for row, r in found if holds(r)] for holds in (lambda r: r.low > 1, lambda r: r.high < 1)
    )
    return (
        f"- A step of {program} takes {figure(geometric_mean([r.median for _, r in found]))} times as long as manual's "
        f"in the geometric mean: manual is faster in {len(ahead)}, no different in "
        f"{len(found) - len(ahead) - len(behind)}, slower in {len(behind)}" + listed(behind)
    )


NOTES = """\
Times are medians: of a step, where a call is `steps` of them, of a training, of an epoch of all networks. A ratio is
the median of the ratios within each round, with its 95 % bootstrap interval; "no difference" where that includes 1;
above 1 manual is faster. All start from the same weights, see the same examples in the same order, and end each call
with all results computed. `manual` is one call of `bp.train_epoch`; `optax_scan` autodiff with optax in one program,
`optax_loop` and `manual_loop` a compiled step called from Python, as are `nnx` and `torch_compile`; `control` is a
second copy of `optax_scan` (of `one_by_one`) over the first, and * marks where its interval does not lie in
[0.95, 1.05], a cell too noisy to tell. `others` is the part of all cores' time that other processes took, * where it
is above 5 %: threads of PyTorch and of scikit-learn wait for each other at work, and then take many times as long,
which the control does not show. The order of the examples is drawn within the call by `manual`, `optax_scan` and
`sklearn`, and given to the others. The first call is with all that it compiles; torch.compile finds what it compiled in
an earlier run on disk.
"""


def _words(r: Ratio) -> str:
    return f"no difference [{figure(r.low)}, {figure(r.high)}]" if r.includes_one else interval(r)


def _noise(row: Row) -> list[str]:
    """What says whether a cell is too noisy to tell: the control, and what other processes took."""
    share = row["others_cpu"]
    others = "?" if share is None else f"{share:.0%}" + ("  " if is_quiet(row) else " *")
    return [control(control_of(row)), others]


def _per(row: Row) -> str:
    if row["part"] == "step":
        return " a step"
    return f" to {GOAL:.0%} of the digits" if row["part"] == "accuracy" else " an epoch of all"


def _not_run(timed: Sequence[Row]) -> list[str]:
    """Each reason once, with the programs it is of."""
    reasons: dict[tuple[str, str], None] = {}
    for row in timed:
        for program, found in row["programs"].items():
            if "not_run" in found:
                reasons[program, found["not_run"]] = None
    return [f"- Not run: {program}: {reason}." for program, reason in reasons]
