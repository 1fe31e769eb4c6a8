"""The report of the gradient checker, as text, HTML and JSON."""

import dataclasses
import html
import json
import math
import os
import sys
import textwrap
from typing import Any, Literal, NamedTuple

Verdict = Literal["right", "wrong", "inherited", "cannot tell"]

_HEADER = ("line", "verdict", "global", "local", "mistake")
_ERRORS = ("global_error", "local_error")
_ANSI: dict[Verdict, int] = {"right": 32, "wrong": 31, "inherited": 33, "cannot tell": 33}
# legible on white and on the near-black of dark notebooks
_HTML: dict[Verdict, str] = {"right": "#198754", "wrong": "#e03131", "inherited": "#a86800", "cannot tell": "#a86800"}


class WrongGradient(AssertionError):
    """An error for a wrong backward pass, with the report as its message."""

    __module__ = "manual_bp.checker"  # the name that a traceback shows


class Line(NamedTuple):
    """The verdict on one line of a backward pass.

    Attributes:
        line: the name of the line, such as "dZ2".
        verdict: "right", "wrong", "inherited" or "cannot tell". An inherited line is right given the lines upstream of
            it, one of which is wrong.
        global_error: the relative error, in norm, against the truth, which is usually autodiff.
        local_error: the relative error, in norm, against the line that follows from the user's own lines upstream.
        mistake: a key of the catalogue of mistakes, such as "missing g'", or None.
        diagnosis: a sentence, or "".
        suggestion: the corrected line of code, or "".
        returned: False for a line that the user did not return, inferred from the others.
    """

    line: str
    verdict: Verdict
    global_error: float | None = None
    local_error: float | None = None
    mistake: str | None = None
    diagnosis: str = ""
    suggestion: str = ""
    returned: bool = True


@dataclasses.dataclass(frozen=True)
class Report:
    """The verdict on every line of a backward pass. `print` shows a table, and so does a notebook.

    Attributes:
        lines: a `Line` for each line, from the cost back.
        conventions: sentences on the conventions that were accepted.
        notes: other sentences, such as which parameters have no returned line.
        dtype: the precision in which the lines were judged, such as "float64".
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
            raise WrongGradient(self._text(colour=False))

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
        return self._text(colour=sys.stdout is not None and sys.stdout.isatty() and not os.environ.get("NO_COLOR"))

    def _repr_html_(self) -> str:
        """Return the report as HTML, for a notebook."""
        styles = [f"padding:1px 14px 1px 0;text-align:{side}" for side in ("left", "left", "right", "right", "left")]
        head = "".join(f'<th style="{style}">{name}</th>' for name, style in zip(_HEADER, styles, strict=True))
        body = []
        for line in self.lines:
            verdict = f'<b style="color:{_HTML[line.verdict]}">{line.verdict}</b>'
            name, _, *others = map(html.escape, _cells(line))
            cells = zip((name, verdict, *others), styles, strict=True)
            body.append("<tr>" + "".join(f'<td style="{style}">{cell}</td>' for cell, style in cells) + "</tr>")
        table = "\n".join([f"<table><thead><tr>{head}</tr></thead><tbody>", *body, "</tbody></table>"])
        shown = [table, f"<div>{html.escape(self._legend())}</div>"] if self.lines else []
        for text, code in [*self._paragraphs(), *((remark, "") for remark in self._remarks())]:
            code = code and f'<pre style="margin:2px 0 0 2em">{html.escape(code)}</pre>'
            shown.append(f'<div style="margin-top:6px">{html.escape(text)}{code}</div>')
        verdict = f'<span style="color:{_HTML[self.verdict]}">{self.verdict}</span>'
        headline = html.escape(self._headline().removeprefix(self.verdict))
        return "\n".join([f"<div><b>{verdict}{headline}</b></div>", *shown])

    def _text(self, colour: bool) -> str:
        def paint(text: str, verdict: Verdict) -> str:
            return f"\x1b[{_ANSI[verdict]}m{text}\x1b[0m" if colour else text

        blocks = [paint(self.verdict, self.verdict) + _wrap(self._headline()).removeprefix(self.verdict)]
        if self.lines:
            rows = [_HEADER, *map(_cells, self.lines)]
            widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
            table = []
            for cells, line in zip(rows, (None, *self.lines), strict=True):
                name, verdict, *others = (f"{c:{side}{w}}" for c, side, w in zip(cells, "<<>><", widths, strict=True))
                table.append("  ".join(["", name, paint(verdict, line.verdict) if line else verdict, *others]).rstrip())
            blocks += ["\n".join(table), _wrap(self._legend())]
        for text, code in self._paragraphs():
            # code is not wrapped, so that it can be copied
            blocks.append(_wrap(text) + (code and "\n    write: " + code.replace("\n", "\n" + " " * 11)))
        remarks = "\n".join(map(_wrap, self._remarks()))
        return "\n\n".join([*blocks, remarks] if remarks else blocks)

    def _headline(self) -> str:
        if self.verdict == "right":
            count = "1 line agrees" if len(self.lines) == 1 else f"{len(self.lines)} lines agree"
            return f"right: {count} with {self.truth} in {self.dtype}"
        blamed = [line for line in self.lines if line.verdict == self.verdict]
        named = []
        for line in blamed or [line for line in self.lines if line.verdict == "inherited"]:
            why = "; ".join(filter(None, [line.mistake, None if line.returned else "not returned"]))
            named.append(f"{line.line} ({why})" if why else line.line)
        return f"{self.verdict}: {', '.join(named) or 'no lines to judge'}"

    def _legend(self) -> str:
        absent = "" if all(line.returned for line in self.lines) else "; in parentheses: not returned"
        errors = f"relative errors in {self.dtype}: global against {self.truth}, local given your lines upstream"
        return f"cost {float(self.cost):.6g}; {errors}{absent}"

    def _paragraphs(self) -> list[tuple[str, str]]:
        """Return a paragraph and the corrected code for each line that needs one; equal ones are joined."""
        names: dict[tuple[str, str], list[str]] = {}
        for line in self.lines:
            if line.verdict == "wrong" or line.verdict == "cannot tell" and line.diagnosis:
                why = line.diagnosis or line.mistake or "no known mistake explains what it computes."
                name = line.line + ("" if line.returned else " (not returned)")
                names.setdefault((why, line.suggestion), []).append(name)
        return [(f"{', '.join(lines)}: {why}", code) for (why, code), lines in names.items()]

    def _remarks(self) -> list[str]:
        return [*(f"accepted: {text}" for text in self.conventions), *(f"note: {text}" for text in self.notes)]


def _cells(line: Line) -> tuple[str, str, str, str, str]:
    figures = ["-" if e is None else f"{e:.1e}" if e else "0" for e in (line.global_error, line.local_error)]
    name = line.line if line.returned else f"({line.line})"
    return (name, line.verdict, figures[0], figures[1], line.mistake or "")


def _wrap(text: str) -> str:
    return textwrap.fill(text, 100, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


def _to_json(number: float | None) -> float | str | None:
    return None if number is None else float(number) if math.isfinite(number) else str(float(number))
