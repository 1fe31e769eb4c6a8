import io
import itertools
import sys

import pytest
from benchmark_runs import gradients as cell
from benchmark_runs import made_row, refused, write
from rich.console import Console

from benchmarks import display, records, report
from benchmarks.__main__ import main


@pytest.mark.parametrize("suite", report.SUITES)
def test_nothing_timed_is_said(suite, tmp_path, capsys):
    path = write(tmp_path / "r.jsonl", made_row(suite, {}, "was wrong"))
    assert main(["report", str(path)]) == 0
    assert "0 of 1 cells timed" in capsys.readouterr().out
    assert [file.suffix for file in sorted(tmp_path.iterdir())] == [".jsonl", ".md"]


@pytest.mark.parametrize("suite", records.RETIRED)
def test_files_of_suites_that_are_gone_are_left_as_they_are(suite, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    old = write(tmp_path / "a.jsonl", cell(4) | {"suite": suite, "part": "run"})
    path = write(tmp_path / "b.jsonl", cell(4))
    assert main(["report"]) == 0
    assert capsys.readouterr().err == f"{old}: left as it is, because the suite {suite} no longer exists\n"
    assert path.with_suffix(".md").exists() and not old.with_suffix(".md").exists()
    assert f"suite {suite} cannot be compared" in refused(capsys, "compare", str(old), str(old))


@pytest.mark.parametrize("width", [80, 200])
def test_tables_are_drawn_to_the_width_of_a_terminal(width):
    """No line is longer, no figure is broken, and each part of a table names its lines."""
    header = ["network", "batch", *(f"a long title of column {n}" for n in range(9))]
    body = [["784-512-512-10", "65,536", *(f"{n}.{line}0 [0.97, 0.99]  " for n in range(9))] for line in range(3)]
    console = Console(width=width, file=io.StringIO(), force_terminal=True, record=True)
    display.draw([display.Table(header, body, 2), display.notes("Many words. " * 30), "a [b] sentence"], console)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width and "a [b] sentence" in lines
    parts = sum(line.lstrip().startswith("784-512-512-10") for line in lines) // 3
    assert parts == sum(line.startswith("network") for line in lines) == {80: 5, 200: 2}[width]
    for n, line in itertools.product(range(9), range(3)):
        assert sum(f"{n}.{line}0 [0.97, 0.99]" in text for text in lines) == 1


def test_a_terminal_gets_tables_and_everything_else_markdown(tmp_path, monkeypatch, capsys):
    path = write(tmp_path / "r.jsonl", cell(1), cell(4))
    monkeypatch.setenv("COLUMNS", "100")
    outs = []
    for is_terminal in (False, True):
        monkeypatch.setattr(sys.stdout, "isatty", lambda is_terminal=is_terminal: is_terminal)
        assert main(["report", str(path)]) == 0 and main(["compare", str(path), str(path)]) == 0
        outs.append(capsys.readouterr().out)
    markdown, drawn = outs
    assert markdown.count("|:---") == 5 and "─" not in markdown
    assert "|:---" not in drawn and "───" in drawn and "no difference" in drawn
    assert "|:---" in path.with_suffix(".md").read_text("utf-8")
