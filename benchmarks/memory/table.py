"""Rows of results as text: a line for each cell, a table for each part, and what they show in words."""

from collections.abc import Sequence

from benchmarks.records import Row
from benchmarks.text import align, figure, geometric_mean, name, size

PROGRAMS = {"manual": "manual", "autodiff": "autodiff", "autodiff_rows": "autodiff, rows"}
TITLES = {"gradient": "Cost and gradient", "step": "A step of Adam", "many_classes": "Very many classes"}
WORDS = ("network",)


def line(row: Row) -> str:
    """A finished cell in one line."""
    if row["error"]:
        return f"{name(row)}: {row['error']}"
    return f"{name(row)}: " + ", ".join(f"{title} {size(temporary(row, p))}" for p, title in PROGRAMS.items())


def page(rows: Sequence[Row]) -> str:
    """All there is to read."""
    found = [(title, [row for row in rows if row["part"] == part]) for part, title in TITLES.items()]
    tables = [f"{title}:\n\n{cells(of)}" for title, of in found if of]
    return "\n\n".join([*tables, summary(rows), NOTES])


def temporary(row: Row, program: str) -> int | None:
    """Bytes of temporary memory."""
    return row["programs"][program]["temp_bytes"]


def saving(row: Row) -> float | None:
    """How many times the temporary memory of manual the lesser of the two forms of autodiff needs."""
    manual, *others = (temporary(row, program) for program in PROGRAMS)
    known = [n for n in others if n]
    return min(known) / manual if manual and known else None


def kept(row: Row) -> int:
    """Bytes for each example that the equations ask for: A[1] to A[L], and one dA; Z where it has to be kept beside A.

    ReLU's derivative is written in A.
    """
    itemsize = {"bfloat16": 2, "float32": 4, "float64": 8}[row["environment"]["dtype"]]
    return itemsize * (sum(row["sizes"][1:]) + max(row["sizes"][1:]))


def cells(rows: Sequence[Row]) -> str:
    header = ("network", "batch", *PROGRAMS.values(), "autodiff / manual", "manual, an example", "A and dA", "results")
    body = []
    for row in rows:
        cell = [row["network"], f"{row['batch_size']:,}"]
        if row["error"]:
            body.append([*cell, "not compiled", *[""] * 6])
            continue
        manual, times = temporary(row, "manual"), saving(row)
        each = "?" if manual is None else f"{manual / row['batch_size']:,.0f} B"
        cell += [*(size(temporary(row, program)) for program in PROGRAMS), figure(times) if times else "?", each]
        body.append([*cell, f"{kept(row):,} B", size(row["programs"]["manual"]["result_bytes"])])
    return align(header, body, WORDS)


def summary(rows: Sequence[Row]) -> str:
    """What the rows show: a line for each part."""
    e = rows[0]["environment"]
    text = [f"On {e['device']} ({e['backend']}, {e['dtype']}, jax {e['jax']}), {len(rows)} cells."]
    text += [f"- Not compiled: {name(row)}: {row['error']}." for row in rows if row["error"]]
    for part, title in TITLES.items():
        found = [(row, s) for row in rows if row["part"] == part and not row["error"] and (s := saving(row))]
        if found:
            times = [s for _, s in found]
            mean, least, most = (figure(of(times)) for of in (geometric_mean, min, max))
            more = [f"{row['network']} at {row['batch_size']:,} ({figure(s)})" for row, s in found if s < 1]
            cells_where = f"{len(more)} of {len(found)} cells{': ' + ', '.join(more) if more else ''}."
            text.append(
                f"- {title}: autodiff needs {mean} times manual's in the geometric mean, from {least} to {most}; "
                f"manual more than autodiff in {cells_where}"
            )
    return "\n".join(text)


NOTES = """\
Temporary memory: the most that a compiled call holds at one time beside its arguments and results, as the compiler
says; nothing was run. `autodiff / manual` is of the lesser of autodiff's two forms, examples in columns and in rows.
`A and dA` is what the equations ask for, for each example: A[1] to A[L] and one dA. Where `manual, an example` is far
below it, the examples are taken block by block.
"""
