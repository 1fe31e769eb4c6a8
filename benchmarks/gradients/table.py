"""Rows of results as text: a line for each cell, tables, and what they show in words."""

from collections.abc import Sequence
from typing import Any

from benchmarks.gradients.programs import flops
from benchmarks.records import Row
from benchmarks.text import (
    align,
    control,
    extent,
    figure,
    geometric_mean,
    interval,
    listed,
    median_of,
    name,
    ratio_of,
    seconds,
    tally,
    was_timed,
)
from benchmarks.timing import Ratio

WORDS = ("network", "verdict")
OTHERS = {
    "autodiff_blocks": "autodiff in blocks",
    "manual_one_device": "manual on one device",
    "torch_eager": "PyTorch",
    "torch_compile": "torch.compile",
}
BASELINES = {"autodiff": "autodiff", "autodiff_rows": "autodiff over rows", **OTHERS}


def line(row: Row) -> str:
    """A finished cell in one line."""
    if row["error"]:
        return f"{name(row)}: {row['error']}"
    found = ratio_of(row, "manual", "autodiff")
    return f"{name(row)}: manual / autodiff {interval(found)}, {found.verdict}"


def page(rows: Sequence[Row]) -> str:
    """All there is to read."""
    text = f"{times(rows)}\n\n{others(rows)}{summary(rows)}\n\n{NOTES}"
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
        cell += [interval(found), found.verdict, _over(row, "autodiff_rows")]
        body.append([*cell, _control(row), f"{share:.0%}"])
    return align(header, body, WORDS)


def others(rows: Sequence[Row]) -> str:
    """The table of manual over what is not timed everywhere; empty where none of it was."""
    cells = [row for row in rows if any(was_timed(row, program) for program in OTHERS)]
    if not cells:
        return ""
    titles = {program: title for program, title in OTHERS.items() if any(was_timed(row, program) for row in cells)}
    body = [
        [row["network"], f"{row['batch_size']:,}", *(_over(row, program) for program in titles), _control(row)]
        for row in cells
    ]
    header = ("network", "batch", *(f"manual / {title}" for title in titles.values()), "control")
    return f"{align(header, body, WORDS)}\n\n"


def _over(row: Row, program: str) -> str:
    return interval(ratio_of(row, "manual", program)) if was_timed(row, program) else ""


def _control(row: Row) -> str:
    return control(ratio_of(row, "control", "autodiff"))


def preparation(rows: Sequence[Row]) -> str:
    """What comes before the first call, and the memory it takes: manual, autodiff, autodiff over rows."""
    names = ("manual", "autodiff", "autodiff_rows")
    header = ("network", "batch", "lower (ms)", "compile (ms)", "temporary memory (MB)")
    body = []
    for row in rows:
        programs = [row["programs"][name] for name in names]
        lower, compile = (
            " / ".join(_scaled(p, key, 1e-3, ".0f") for p in programs) for key in ("lower_s", "compile_s")
        )
        memory = " / ".join(_scaled(p, "temp_bytes", 1e6, ".3g") for p in programs)
        body.append([row["network"], f"{row['batch_size']:,}", lower, compile, memory])
    return align(header, body, WORDS)


def _scaled(program: dict[str, Any], key: str, unit: float, form: str) -> str:
    """A figure of a program, where it is known."""
    return "?" if program.get(key) is None else f"{program[key] / unit:{form}}"


def summary(rows: Sequence[Row]) -> str:
    """What the rows show: a sentence on the extent, and a line for each baseline."""
    timed = [row for row in rows if not row["error"]]
    text = [" ".join(extent(rows))]
    for program, title in BASELINES.items():
        found = [(row, ratio_of(row, "manual", program)) for row in timed if was_timed(row, program)]
        if found:
            text.append(f"- {_against(title, found)}")
    if timed:
        passing = sum(ratio_of(row, "control", "autodiff").passes_as_control for row in timed)
        text.append(f"- The control passes in {passing} of {len(timed)} cells, its interval in [0.95, 1.05].")
    return "\n".join(text)


def _against(title: str, found: Sequence[tuple[Row, Ratio]]) -> str:
    over = [(row, r) for row, r in found if r.high > 1.05 and ratio_of(row, "control", "autodiff").passes_as_control]
    means = {
        network: geometric_mean([r.median for row, r in found if row["network"] == network])
        for network in dict.fromkeys(row["network"] for row, _ in found)
    }
    each = f" ({', '.join(f'{network} {figure(mean)}' for network, mean in means.items())})" if len(means) > 1 else ""
    mean = figure(geometric_mean([r.median for _, r in found]))
    return (
        f"Manual takes {mean} of the time of {title} in the geometric mean{each}: it is {tally(found)} "
        f"Where the control passes, its interval reaches above 1.05 in {len(over)}{listed(over)}"
    )


NOTES = """\
Times are medians per call. A ratio is the median of the ratios within each round, with its 95 % bootstrap interval; "no
difference" where that includes 1. `autodiff` keeps examples in columns, as `manual` does, and `autodiff, rows` in rows;
`autodiff in blocks` takes the same examples at a time as `manual` where that takes blocks, and adds up in a scan;
`manual on one device` takes them without the mesh. The control is a second copy of `autodiff` over the first: it passes
where its interval lies in [0.95, 1.05], and * marks where it does not, a cell too noisy to tell. `matmul` is the FLOP/s
of `manual` as a share of those of a square matrix product in the same run. A cell whose programs differ is not timed:
one ReLU unit within rounding of its kink, on in one program and off in another, is enough for that. What is lowered,
compiled and needed of memory is told of manual, autodiff and autodiff over rows, in that order, ? where it is not
known.

An interval holds what varies within a run, not what varies between runs, such as where arrays lie in memory: ratios of
two runs of the same code mostly lie within 0.1 of each other.
"""
