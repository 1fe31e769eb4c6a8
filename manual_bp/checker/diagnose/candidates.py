"""Candidates for the mistake in a line: the lines that the mistakes would lead to."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from manual_bp.checker.diagnose.backward_equations import BackwardEquation
from manual_bp.checker.diagnose.evidence import Evidence


class Candidate(NamedTuple):
    """The key of a mistake, the line that it leads to, and a sentence.

    With a direction, the line is the given one plus k times the direction, for an unknown k that passes `allows`. The
    sentence then has a place {k} for it.
    """

    key: str
    line: np.ndarray
    sentence: str
    direction: np.ndarray | None = None
    allows: Callable[[float], bool] = lambda k: True


def confusable(evidence: Evidence, line: str, names: list[str]) -> list[str]:
    """Return the lines that could have been used instead of this one, all computed before it."""
    later = evidence.graph.descendants(line)
    return [name for name in names if name != line and name not in later]


def wrong_upstream_line(
    evidence: Evidence, equation: BackwardEquation, make: Callable[[np.ndarray], np.ndarray | None]
) -> Iterator[Candidate]:
    """Make the line from every other delta in place of the one upstream."""
    for node in confusable(evidence, equation.line, list(evidence.graph.nodes)):
        array = make(evidence.line(node)) if node != equation.successor else None
        if array is not None:
            yield Candidate("another line", array, f"d{node} is used in place of d{equation.successor}")
