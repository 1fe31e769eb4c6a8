"""The description of a suite of benchmarks, and of the cells that it measures."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.display import Page
from benchmarks.plans import Plan
from benchmarks.program import Program
from benchmarks.records import Row
from benchmarks.timing import Ratio

# The largest difference allowed, in norm over norm of each leaf: one for all, or a function of program and leaf
Bound = float | Callable[[str, str], float]


class Suite(NamedTuple):
    """Everything in which one suite differs from another."""

    name: str
    compared: tuple[str, ...]  # the programs that have to agree with the baseline, or the cell is not timed
    labels: Callable[[Any], list[str]]  # the names of the leaves of a result
    bounds: Mapping[str, Bound]  # by dtype
    ratio: Callable[[Row], Ratio]  # the ratio of a timed cell that has to be told apart from noise
    line: Callable[[Row], str]  # a timed cell in one line, without its name
    page: Callable[[Sequence[Row]], Page]  # the report
    draw: Callable[[Sequence[Row]], Any]  # the figure, of rows that were timed
    picture: str  # describes the figure
    required: tuple[str, ...] = ()  # a cell in which one of these programs cannot run is not timed
    optional: tuple[str, ...] = ()  # programs that are left out if they differ from the baseline
    tf32: Bound = 8 * 2**-8  # the bound where products of float32 are rounded to TF32; kinks matter as in bfloat16
    bytes_allowed: float = math.inf  # a baseline that needs more temporary memory is not run
    ending: Callable[[Sequence[Row]], list[str]] = lambda rows: []  # the last lines of a run, before the files


class Cell(NamedTuple):
    """The fields that identify a cell, and a function that makes its programs."""

    fields: dict[str, Any]
    programs: Callable[[], Mapping[str, Program | str]]  # by name: a program, or the reason why there is none


def cells_of(plan: Plan, of_cell: Callable[..., Mapping[str, Any]], *args: Any) -> list[Cell]:
    """A cell for each point of the plan, with the programs of_cell(sizes, batch size, *args)."""
    return [
        Cell(
            {"network": of.name, "sizes": list(of.sizes), "batch_size": m},
            functools.partial(of_cell, of.sizes, m, *args, **of.activations),
        )
        for of, m in plan.points
    ]
