import json
import math

import pytest
from benchmark_runs import gradients as cell
from benchmark_runs import refused, run, write

from benchmarks import environment, records, rows
from benchmarks.__main__ import main


def test_rows_survive_the_file(tmp_path):
    rows = [cell(1), cell(4, error="said why")]
    assert records.read(write(tmp_path / "r.jsonl", *rows)) == (rows, [])


def test_a_truncated_last_line_is_left_out_and_written_on(tmp_path, made_up, capsys):
    path = write(tmp_path / "r.jsonl", *(cell(m, environment=environment.describe("float32")) for m in (4, 16)))
    path.write_bytes(path.read_bytes()[:-100])
    assert main(["report", str(path)]) == 0
    out, err = capsys.readouterr()
    assert err == f"{path}: line 2 is incomplete and was left out\n"
    assert "1 of 1 cells" in out
    # a further run starts a line of its own
    assert run(path) == 0
    rows, notes = records.read(path)
    assert [row["batch_size"] for row in rows] == [4, 1, 2] and len(notes) == 1


@pytest.mark.parametrize("content", [b"", b"x, y\n1, 2\n", b'{"schema": 2}\n', b"[1]\n", b"\x89PNG\xff\n"])
def test_a_foreign_file_is_refused(tmp_path, capsys, content):
    path = tmp_path / "foreign.jsonl"
    path.write_bytes(content)
    assert f"{path} is not a results file" in refused(capsys, "report", str(path))
    if content:
        assert "is not a results file" in refused(capsys, *"--networks 7-5-3 --out".split(), str(path))
        assert path.read_bytes() == content


def test_results_are_strictly_json(tmp_path):
    with pytest.raises(ValueError):
        records.append(tmp_path / "r.jsonl", cell(1, errors={"manual": {"cost": math.nan}}))
    assert not (tmp_path / "r.jsonl").exists()
    assert json.loads(json.dumps(cell(1))) == cell(1)


def test_members_and_parts_are_in_the_name():
    named = {"network": "5x64", "batch_size": 2048}
    assert rows.name(named | {"part": "step", "members": 1}) == "step, 5x64 at 2,048"
    assert rows.name(named | {"part": "ensemble", "members": 8}) == "ensemble of 8, 5x64 at 2,048"
