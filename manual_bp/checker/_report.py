"""The report of the gradient checker."""

import dataclasses
import json
import math
import os
import sys
from typing import Any, Literal

from manual_bp.checker._report_line import Line
from manual_bp.checker._report_text import as_html, as_text

_ERRORS = ("global_error", "local_error")


class WrongGradient(AssertionError):
    """An error for a wrong backward pass, with the report as its message."""

    __module__ = "manual_bp.checker"  # the name that a traceback shows


@dataclasses.dataclass(frozen=True)
class Report:
    """The verdict on every line of a backward pass. `print` shows a table, and so does a notebook.

    Attributes:
        lines: a `Line` for each line, from the cost back.
        conventions: sentences on the conventions that were accepted.
        notes: other sentences, such as which parameters have no returned line.
        dtype: the precision of the truth, such as "float64". A note names the lines that are judged at less.
        cost: the cost at the arguments.
        truth: the derivative that was compared with, "autodiff" or "central differences".

    Example:
        >>> report = bp.check_gradients(lambda p: jnp.sum(p**2), lambda p: 2 * p, np.arange(3.0))
        >>> report.verdict, report.dtype, report["dp"].verdict
        ('right', 'float64', 'right')
        >>> bp.checker.Report.from_json(report.to_json()) == report
        True
    """

    lines: tuple[Line, ...]
    conventions: tuple[str, ...]
    notes: tuple[str, ...]
    dtype: str
    cost: float
    truth: str = "autodiff"

    @property
    def verdict(self) -> Literal["right", "wrong", "cannot tell"]:
        """Return "wrong" if a line is wrong or inherited, "right" if there are lines, all right, else "cannot tell"."""
        verdicts = {line.verdict for line in self.lines}
        return "wrong" if verdicts & {"wrong", "inherited"} else "right" if verdicts == {"right"} else "cannot tell"

    def raise_if_wrong(self) -> None:
        """Raise `WrongGradient`, an AssertionError with this report as its message, if the verdict is "wrong"."""
        __tracebackhide__ = True
        if self.verdict == "wrong":
            raise WrongGradient(as_text(self, colour=False))

    def to_dict(self) -> dict[str, Any]:
        """Return the report and its verdict in JSON's types; numbers that are not finite become "inf" or "nan"."""
        return {
            "verdict": self.verdict,
            **vars(self),
            "cost": _to_json(self.cost),
            "lines": [line._asdict() | {k: _to_json(getattr(line, k)) for k in _ERRORS} for line in self.lines],
            "conventions": list(self.conventions),
            "notes": list(self.notes),
        }

    def to_json(self, indent: int | None = 2) -> str:
        """Return `to_dict` as strict JSON."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """Read a report written by `to_json`."""
        found = json.loads(text)
        lines = [line | {k: float(line[k]) for k in _ERRORS if line[k] is not None} for line in found["lines"]]
        found |= {"lines": tuple(Line(**line) for line in lines), "cost": float(found["cost"])}
        found |= {name: tuple(found[name]) for name in ("conventions", "notes")}
        del found["verdict"]
        return cls(**found)

    def __getitem__(self, name: str) -> Line:
        """Return the line of that name."""
        found = {line.line: line for line in self.lines}
        if name not in found:
            raise KeyError(f"the report has no line {name!r}; its lines are: {', '.join(found) or 'none'}")
        return found[name]

    def __eq__(self, other: object) -> bool:
        """Compare all fields; nan equals nan."""
        return self.to_dict() == other.to_dict() if isinstance(other, Report) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.dtype, *((line.line, line.verdict) for line in self.lines)))

    def __str__(self) -> str:
        """Return the table and the diagnoses, in colour on a terminal unless NO_COLOR is set."""
        return as_text(self, colour=sys.stdout is not None and sys.stdout.isatty() and not os.environ.get("NO_COLOR"))

    def _repr_html_(self) -> str:
        """Return the report as HTML, for a notebook."""
        return as_html(self)


def _to_json(number: float | None) -> float | str | None:
    return None if number is None else float(number) if math.isfinite(number) else str(float(number))
