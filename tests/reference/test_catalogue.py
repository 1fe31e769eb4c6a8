"""The page of mistakes: every key of the checker, and what the command writes. test_docs.py runs the page."""

import re

import pytest

from reference.checker_proof.known_mistakes import keys_in, known_mistakes
from reference.commands import catalogue


def test_the_page_shows_every_mistake_under_its_name():
    text = catalogue.PAGE.read_text()
    assert len(known_mistakes()) >= 40 and catalogue.not_shown(text) == []
    without_report = text.replace("(g for g')", "(unknown)")
    assert catalogue.not_shown(without_report) == ["g for g'"]
    assert catalogue.not_shown(text.replace("### zero\n", "### nought\n")) == ["zero"]


def test_every_entry_is_a_mistake():
    assert set(re.findall(r"^### (.+)$", catalogue.PAGE.read_text(), re.M)) == known_mistakes()


@pytest.mark.parametrize(
    "source, keys",
    [
        ("Finding('one', f'{a} sentence')", {"one"}),
        ("yield Candidate('one' if c else 'other', line, 'sentence')", {"one", "other"}),
        ("line = Line(name, 'wrong', None, None, 'one', 'why')", {"one"}),
        ("Line(name, 'wrong', *errors, 'one', 'why')", {"one"}),
        ("line._replace(verdict='wrong', mistake='one', diagnosis='why')", {"one"}),
        ("ONE = 'one'\nFinding(ONE, 'why')", {"one"}),
        ("verdict, key = ('wrong', 'one') if c else ('cannot tell', None)\nLine(n, verdict, 0, 0, key)", {"one"}),
        ("def diagnose():\n    return 'one', 'why'\nLine(n, 'wrong', 0, 0, *diagnose())", {"one"}),
        ("Finding(c.key, 'why')\nprint('one')", set()),
    ],
)
def test_keys_are_found_as_they_are_written(source, keys):
    assert keys_in([source]) == keys


def test_the_command_writes_what_the_code_prints():
    page = "# Page\n\n```python\nx = 2\n```\n\n```python\nprint(x)\n```\n{}\nText.\n"
    written = page.format("\n```text\n2\n```\n")
    for before in ("", "\n```text\n1\n```\n"):
        assert catalogue.with_reports(page.format(before)) == written


def test_the_command_fails_if_a_mistake_is_not_shown(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(catalogue, "PAGE", tmp_path / "mistakes.md")
    catalogue.PAGE.write_text("### zero\n\n```python\nprint('wrong: dW (zero)')\n```\n")
    assert catalogue.run() == len(known_mistakes()) - 1
    assert "(zero)\n```" in catalogue.PAGE.read_text() and "'zero'" not in capsys.readouterr().out
