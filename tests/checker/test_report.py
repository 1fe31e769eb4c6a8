import contextlib
import dataclasses
import html.parser
import re
import sys

import pytest
from some_reports import LINES, report, table

from manual_bp.checker._report import Report, WrongGradient
from manual_bp.checker._report_line import Line


@pytest.fixture(autouse=True)
def colour_allowed(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)


def of(*verdicts):
    return report(*(Line(f"d{i}", verdict) for i, verdict in enumerate(verdicts)))


def plain(text):
    return re.sub(r"\x1b\[\d*m", "", text)


class Cells(html.parser.HTMLParser):
    """A parser for the text of each table row, the other text, and the tags that were not closed."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.text, self.open = [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "table" not in self.open:
            self.text += data
        elif "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], "cannot tell"), (["right"], "right"), (["right", "right"], "right"), (["inherited"], "wrong"),
        (["right", "wrong"], "wrong"), (["right", "inherited"], "wrong"), (["right", "cannot tell"], "cannot tell"),
        (["cannot tell"], "cannot tell"), (["cannot tell", "inherited"], "wrong"),
        (["wrong", "cannot tell", "right"], "wrong"),
    ],
)  # fmt: skip
def test_verdict_and_whether_it_raises(verdicts, expected):
    assert of(*verdicts).verdict == expected
    with pytest.raises(WrongGradient) if expected == "wrong" else contextlib.nullcontext():
        of(*verdicts).raise_if_wrong()


def test_columns_are_aligned():
    header, *rows = table(str(report(*LINES)))
    assert "in parentheses: not returned" in " ".join(str(report(*LINES)).split())
    assert "parentheses" not in str(report(*LINES[:-1]))
    starts = [header.index(name) for name in ("line", "verdict", "global", "local", "mistake")]
    ends = {name: header.index(name) + len(name) for name in ("global", "local")}
    for row, line in zip(rows, LINES, strict=True):
        assert row[starts[0] :].startswith(line.line if line.returned else f"({line.line})")
        assert row[starts[1] :].startswith(line.verdict)
        assert row[starts[4] :] == (line.mistake or "")
        for end in ends.values():
            assert row[end - 1] != " " and row[end : end + 2].strip() == ""
        assert row == row.rstrip()
    shown = [tuple(row[: starts[4]].split()[-2:]) for row in rows]
    assert shown == [
        ("1.2e-16", "0"), ("2.0e-16", "1.0e-17"), ("8.4e-01", "8.4e-01"),
        ("9.1e-01", "1.0e-16"), ("-", "-"), ("inf", "nan"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "headline"),
    [
        (LINES, "wrong: dZ1 (missing g'), dA0 (not returned)"),
        ([Line("dZ1", "wrong", mistake="transposed", returned=False)], "wrong: dZ1 (transposed; not returned)"),
        ([Line("dZ1", "wrong"), Line("dW1", "inherited")], "wrong: dZ1"),
        ([Line("dZ1", "right"), Line("dW1", "inherited")], "wrong: dW1"),
        ([Line("dZ1", "right")], "right: 1 line agrees with autodiff in float64"),
        ([Line("dZ1", "right"), Line("dW1", "right")], "right: 2 lines agree with autodiff in float64"),
        ([Line("dZ1", "right"), Line("dW1", "cannot tell"), Line("db1", "cannot tell")], "cannot tell: dW1, db1"),
        ([], "cannot tell: no lines to judge"),
    ],
)
def test_headline(lines, headline):
    found = report(*lines)
    assert str(found).splitlines()[0] == headline
    assert headline in Cells(found._repr_html_()).text


def test_names_what_it_was_judged_against():
    found = dataclasses.replace(of("right"), truth="finite differences")
    assert str(found).startswith("right: 1 line agrees with finite differences in float64\n")
    assert "global against finite differences" in str(found) and "autodiff" not in str(found)


def test_paragraphs_below_the_table():
    """A wrong line is always explained, another only if it has a diagnosis; paragraphs are wrapped and indented."""
    text = str(report(*LINES, Line("dX", "cannot tell"), conventions=("1/m sits in dW.",), notes=("A kink is near.",)))
    below = text.split("\n\n")[3:]
    assert [paragraph.split(":")[0] for paragraph in below] == ["dZ1", "db1", "dA0 (not returned)", "accepted"]
    assert below[0].splitlines()[-1] == "    write: dZ1 = dA1 * (1 - A1**2)"
    assert below[0].splitlines()[1].startswith("    ") and len(below[0].splitlines()) == 3
    assert below[2].endswith("no known mistake explains what it computes.")
    assert below[3] == "accepted: 1/m sits in dW.\nnote: A kink is near."
    assert max(map(len, text.splitlines())) <= 100
    assert "write" not in below[1]


def test_mistake_stands_in_for_a_diagnosis():
    named = report(Line("dZ1", "wrong", mistake="transposed", suggestion="dZ1 = X"))
    assert "\ndZ1: transposed\n    write: dZ1 = X" in str(named)


def test_suggested_code_is_not_wrapped():
    """Code can be copied: a long line stays whole, and a second line keeps its indent relative to the first."""
    code = "dZ1 = (" + " + ".join(["dA1"] * 30) + "\n    + dA2)"
    shown = str(report(Line("dZ1", "wrong", suggestion=code)))
    start = shown.index("dZ1 = (") - shown.rindex("\n", 0, shown.index("dZ1 = (")) - 1
    first, second = shown[shown.index("dZ1 = (") :].splitlines()
    assert f"{first}\n{second[start:]}" == code


def test_words_are_not_broken():
    """An expression in a sentence stays whole wherever the line ends."""
    for word in ("sum(dA-dY)", "W" * 120):
        for before in range(80, 100):
            assert word in str(report(notes=("x" * before + f" {word}",)))


def test_colour_on_a_terminal(monkeypatch, terminal):
    coloured = str(report(*LINES))
    codes = [re.findall(r"\x1b\[(\d+)m(.*?)\x1b\[0m", row) for row in table(coloured)[1:]]
    assert [[(code, text.strip()) for code, text in row] for row in codes] == [
        [({"right": "32", "wrong": "31"}.get(line.verdict, "33"), line.verdict)] for line in LINES
    ]
    assert coloured.startswith("\x1b[31mwrong\x1b[0m: dZ1")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    assert "\x1b" not in str(report(*LINES)) and plain(coloured) == str(report(*LINES))


def test_no_color(monkeypatch, terminal):
    """Any value of NO_COLOR that is not empty counts, see https://no-color.org; under pythonw there is no stdout."""
    for value, coloured in (("1", False), ("0", False), ("", True)):
        monkeypatch.setenv("NO_COLOR", value)
        assert ("\x1b" in str(report(*LINES))) == coloured
    monkeypatch.setattr(sys, "stdout", None)
    assert "\x1b" not in str(report(*LINES))


def test_the_same_is_said_once():
    same = [Line(name, "cannot tell", diagnosis="Two runs differ.") for name in ("dZ1", "dW1")]
    text = str(report(*same, Line("db1", "cannot tell", diagnosis="It is zero.")))
    assert "\ndZ1, dW1: Two runs differ.\n" in text and text.count("Two runs") == 1
    assert "\ndb1: It is zero." in text


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Report)])
def test_reports_that_differ_are_not_equal_and_none_changes(field):
    other = dict(
        lines=LINES[1:], conventions=("One.",), notes=("One.",), dtype="float32", cost=0.5, truth="differences"
    )
    found = report(*LINES)
    assert dataclasses.replace(found, **{field: other[field]}) != found
    assert found != found.to_dict()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(found, field, other[field])


def test_html_escapes_every_text():
    mark = "<b>&\"'"
    fields = {name: f"{mark}{name}" for name in ("line", "mistake", "diagnosis", "suggestion")}
    found = Report((Line(verdict="wrong", **fields),), (f"{mark}convention",), (f"{mark}note",), f"{mark}dtype", 0.25)  # pyright: ignore[reportArgumentType]
    source = found._repr_html_()
    assert "<b>&" not in source
    cells = Cells(source)
    assert cells.rows[1] == [fields["line"], "wrong", "-", "-", fields["mistake"]]
    for text in (fields["diagnosis"], fields["suggestion"], *found.conventions, *found.notes, found.dtype):
        assert text in cells.text


def test_html_says_what_the_text_says():
    found = report(*LINES, conventions=("1/m sits in dW.",), notes=("A kink is near.",))
    cells = Cells(found._repr_html_())
    assert cells.open == []
    assert [" ".join(row).split() for row in cells.rows] == [row.split() for row in table(str(found))]

    said = "".join(cells.text.split())
    blocks = str(found).split("\n\n")
    for block in (blocks[0], *blocks[2:-1], *blocks[-1].splitlines()):
        assert "".join(block.replace("write: ", "").split()) in said


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_html_is_legible_in_light_and_dark():
    """The text keeps the notebook's colour, and verdicts stand out from white and from JupyterLab's dark #111111."""
    source = report(*LINES)._repr_html_() + of("right")._repr_html_() + of("cannot tell")._repr_html_()
    colours = set(re.findall(r"color:\s*([^;\"]+)", source))
    assert len(colours) == 3 and "background" not in source
    for colour in colours:
        assert 1.05 / (luminance(colour) + 0.05) >= 4
        assert (luminance(colour) + 0.05) / (luminance("#111111") + 0.05) >= 4


def test_html_of_no_lines_has_no_table():
    found = report(notes=("Nothing was returned.",))
    assert "<table" not in found._repr_html_() and "Nothing was returned." in found._repr_html_()
    assert str(found) == "cannot tell: no lines to judge\n\nnote: Nothing was returned."


def test_the_error_is_the_report_without_colour(terminal):
    with pytest.raises(AssertionError) as caught:
        report(*LINES).raise_if_wrong()
    assert str(caught.value) == plain(str(report(*LINES))) != str(report(*LINES))


def test_line_by_name():
    found = report(*LINES)
    assert found["dW1"] is LINES[3]
    with pytest.raises(KeyError, match="no line 'dZ3'; its lines are: dZ2, dW2, dZ1, dW1, db1, dA0"):
        found["dZ3"]
    with pytest.raises(KeyError, match="its lines are: none"):
        report()["dZ1"]
