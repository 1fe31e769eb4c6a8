"""A report as text and as HTML: its headline, table and paragraphs."""

import html
import textwrap
from typing import TYPE_CHECKING

from manual_bp.checker._report_line import Line, Verdict

if TYPE_CHECKING:
    from manual_bp.checker._report import Report

_HEADER = ("line", "verdict", "global", "local", "mistake")
_ANSI: dict[Verdict, int] = {"right": 32, "wrong": 31, "inherited": 33, "cannot tell": 33}
# legible on white and on the near-black of dark notebooks
_HTML: dict[Verdict, str] = {"right": "#198754", "wrong": "#e03131", "inherited": "#a86800", "cannot tell": "#a86800"}


def as_html(report: "Report") -> str:
    """Return the report as HTML, for a notebook."""
    styles = [f"padding:1px 14px 1px 0;text-align:{side}" for side in ("left", "left", "right", "right", "left")]
    head = "".join(f'<th style="{style}">{name}</th>' for name, style in zip(_HEADER, styles, strict=True))
    body = []
    for line in report.lines:
        verdict = f'<b style="color:{_HTML[line.verdict]}">{line.verdict}</b>'
        name, _, *others = map(html.escape, _cells(line))
        cells = zip((name, verdict, *others), styles, strict=True)
        body.append("<tr>" + "".join(f'<td style="{style}">{cell}</td>' for cell, style in cells) + "</tr>")
    table = "\n".join([f"<table><thead><tr>{head}</tr></thead><tbody>", *body, "</tbody></table>"])
    shown = [table, f"<div>{html.escape(_legend(report))}</div>"] if report.lines else []
    for text, code in [*_paragraphs(report), *((remark, "") for remark in _remarks(report))]:
        code = code and f'<pre style="margin:2px 0 0 2em">{html.escape(code)}</pre>'
        shown.append(f'<div style="margin-top:6px">{html.escape(text)}{code}</div>')
    verdict = f'<span style="color:{_HTML[report.verdict]}">{report.verdict}</span>'
    headline = html.escape(_headline(report).removeprefix(report.verdict))
    return "\n".join([f"<div><b>{verdict}{headline}</b></div>", *shown])


def as_text(report: "Report", colour: bool) -> str:
    def paint(text: str, verdict: Verdict) -> str:
        return f"\x1b[{_ANSI[verdict]}m{text}\x1b[0m" if colour else text

    blocks = [paint(report.verdict, report.verdict) + _wrap(_headline(report)).removeprefix(report.verdict)]
    if report.lines:
        rows = [_HEADER, *map(_cells, report.lines)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = []
        for cells, line in zip(rows, (None, *report.lines), strict=True):
            name, verdict, *others = (f"{c:{side}{w}}" for c, side, w in zip(cells, "<<>><", widths, strict=True))
            table.append("  ".join(["", name, paint(verdict, line.verdict) if line else verdict, *others]).rstrip())
        blocks += ["\n".join(table), _wrap(_legend(report))]
    for text, code in _paragraphs(report):
        # code is not wrapped, so that it can be copied
        blocks.append(_wrap(text) + (code and "\n    write: " + code.replace("\n", "\n" + " " * 11)))
    remarks = "\n".join(map(_wrap, _remarks(report)))
    return "\n\n".join([*blocks, remarks] if remarks else blocks)


def _headline(report: "Report") -> str:
    if report.verdict == "right":
        count = "1 line agrees" if len(report.lines) == 1 else f"{len(report.lines)} lines agree"
        return f"right: {count} with {report.truth} in {report.dtype}"
    blamed = [line for line in report.lines if line.verdict == report.verdict]
    named = []
    for line in blamed or [line for line in report.lines if line.verdict == "inherited"]:
        why = "; ".join(filter(None, [line.mistake, None if line.returned else "not returned"]))
        named.append(f"{line.line} ({why})" if why else line.line)
    return f"{report.verdict}: {', '.join(named) or 'no lines to judge'}"


def _legend(report: "Report") -> str:
    absent = "" if all(line.returned for line in report.lines) else "; in parentheses: not returned"
    errors = f"relative errors in {report.dtype}: global against {report.truth}, local given your lines upstream"
    return f"cost {float(report.cost):.6g}; {errors}{absent}"


def _paragraphs(report: "Report") -> list[tuple[str, str]]:
    """Return a paragraph and the corrected code for each line that needs one; equal ones are joined."""
    names: dict[tuple[str, str], list[str]] = {}
    for line in report.lines:
        if line.verdict == "wrong" or line.verdict == "cannot tell" and line.diagnosis:
            why = line.diagnosis or line.mistake or "no known mistake explains what it computes."
            name = line.line + ("" if line.returned else " (not returned)")
            names.setdefault((why, line.suggestion), []).append(name)
    return [(f"{', '.join(lines)}: {why}", code) for (why, code), lines in names.items()]


def _remarks(report: "Report") -> list[str]:
    return [*(f"accepted: {text}" for text in report.conventions), *(f"note: {text}" for text in report.notes)]


def _cells(line: Line) -> tuple[str, str, str, str, str]:
    figures = ["-" if e is None else f"{e:.1e}" if e else "0" for e in (line.global_error, line.local_error)]
    name = line.line if line.returned else f"({line.line})"
    return (name, line.verdict, figures[0], figures[1], line.mistake or "")


def _wrap(text: str) -> str:
    return textwrap.fill(text, 100, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
