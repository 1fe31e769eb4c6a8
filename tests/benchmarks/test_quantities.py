import math

import jax
import numpy as np
import pytest
from benchmark_runs import PREPARED, lines_of, made_row, refused, reported, timed, write

from benchmarks import records, text
from benchmarks.__main__ import main
from benchmarks.display import markdown
from benchmarks.quantities import command, programs, table

NAMES = list(programs.QUANTITIES)
PROGRAMS = {"manual", "autodiff", "gradient", "control"}


def run(path, *options):
    return main(["quantities", "--networks", "7-5-3", "--repeats", "6", "--out", str(path), *options])


def cell(quantity="gram_matrix", network="7-5-3", batch_size=4, speed=2.0, cost=1.1, not_run=None, error=None):
    """A row as a run writes it, of given median ratios."""
    scales = {"manual": cost, "autodiff": cost * speed, "gradient": 1.0, "control": 1.01}
    prepared = PREPARED | {"temp_bytes": 1000}
    programs = timed(scales, batch_size, 1e-5 * batch_size, prepared)
    programs["autodiff"] = (prepared | {"not_run": not_run} if not_run else programs["autodiff"]) | {
        "temp_bytes": 5_000_000
    }
    errors = {} if not_run else {"manual": {"value": 1e-7}}
    return made_row(
        "quantities", programs, error, quantity=quantity, network=network, batch_size=batch_size, errors=errors
    )


def test_every_quantity_agrees_and_its_row_is_whole(tmp_path, capsys):
    """With more examples than a block holds, and some left over."""
    assert run(tmp_path / "r.jsonl", "--dtype", "float64", "--batch-sizes", "300") == 0
    rows, notes = records.read(tmp_path / "r.jsonl")
    assert notes == [] and [row["quantity"] for row in rows] == NAMES
    for row in rows:
        assert tuple(row) == records.FIELDS["quantities"]
        assert (row["network"], row["sizes"], row["batch_size"], row["error"]) == ("7-5-3", [7, 5, 3], 300, None)
        assert row["environment"]["dtype"] == "float64"
        assert row["programs"].keys() == PROGRAMS
        for program in row["programs"].values():
            assert len(program["times_s"]) == 6 and all(0 < t < 10 for t in program["times_s"])
            assert program["lower_s"] > 0 and program["compile_s"] > 0 and program["temp_bytes"] >= 0
        assert row["errors"].keys() == {"manual"}
        assert all(0 <= e < 1e-11 for e in row["errors"]["manual"].values())
    labels = {row["quantity"]: list(row["errors"]["manual"]) for row in rows}
    assert labels["per_example_norms"] == ["value"] and labels["variance"] == ["W[1]", "b[1]", "W[2]", "b[2]"]
    assert labels["kfac_exact"] == ["A[1]", "G[1]", "A[2]", "G[2]"]
    out, err = capsys.readouterr()
    assert markdown(table.page(rows)) in out and out.splitlines()[-1] == str(tmp_path / "r.jsonl")
    assert err.splitlines() == [
        f"{n:2}/{len(rows)}  {row['quantity']}, 7-5-3 at 300: {table.line(row)}" for n, row in enumerate(rows, 1)
    ]


def test_programs_of_a_cell():
    cell = programs.of_cell("hessian_product", (7, 5, 3), 4, "float32")
    assert cell.keys() == PROGRAMS and len({id(program.function) for program in cell.values()}) == 4
    assert all(len(cell[name].args) == n for name, n in {"manual": 4, "autodiff": 4, "gradient": 3}.items())
    assert {leaf.dtype for leaf in jax.tree.leaves(cell["manual"].args) if leaf.ndim > 1} == {np.dtype("float32")}
    # the plain gradient is compiled once for all quantities
    other = programs.of_cell("variance", (7, 5, 3), 4, "float32")
    assert other["gradient"] is cell["gradient"] and other["control"] is cell["control"]


def test_a_disagreement_is_found_and_not_timed(tmp_path, monkeypatch, capsys):
    right = programs.QUANTITIES["second_moment"]

    def slightly_wrong(network):
        def manual(params, X, Y):
            first, *rest = right.manual(network)(params, X, Y)
            return (first, *(layer._replace(W=1.01 * layer.W) for layer in rest))

        return manual

    monkeypatch.setitem(programs.QUANTITIES, "second_moment", right._replace(manual=slightly_wrong))
    path = tmp_path / "r.jsonl"
    assert run(path, "--batch-sizes", "4", "--only", "second_moment", "per_example_norms") == 1
    (bad, good), _ = records.read(path)
    assert bad["error"] == "manual differs from autodiff: W[2] by 1.0e-02 in norm, 1.0e-03 allowed"
    assert bad["programs"] == {} and bad["errors"]["manual"]["W[2]"] == pytest.approx(0.01, rel=1e-3)
    assert bad["errors"]["manual"]["W[1]"] < 1e-5
    assert good["quantity"] == "per_example_norms" and good["error"] is None
    out, err = capsys.readouterr()
    assert bad["error"] in err and f"Not timed: second_moment, 7-5-3 at 4: {bad['error']}." in out


def test_a_baseline_that_is_too_large_is_not_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "SUITE", command.SUITE._replace(bytes_allowed=10))
    path = tmp_path / "r.jsonl"
    # below what a block holds there is nothing to accumulate
    assert run(path, "--batch-sizes", "4", "--only", "gram_matrix", "accumulated_gradients") == 0
    (row,), _ = records.read(path)
    autodiff = row["programs"]["autodiff"]
    assert autodiff["temp_bytes"] > 10 and "times_s" not in autodiff
    assert autodiff["not_run"].endswith("GB of temporary memory, 1e-08 GB allowed")
    assert (row["error"], row["errors"]) == (None, {})
    assert all(len(row["programs"][name]["times_s"]) == 6 for name in PROGRAMS - {"autodiff"})
    out, err = capsys.readouterr()
    assert f"gram_matrix, 7-5-3 at 4: autodiff not run, {autodiff['not_run']}; " in err
    assert f"Autodiff not run: gram_matrix, 7-5-3 at 4: {autodiff['not_run']}." in out and " not run |" in out


def test_requests_that_cannot_be_met(tmp_path, capsys):
    message = refused(capsys, "quantities", "--only", "gram_matrix", "gradient_norm")
    assert "unknown quantity 'gradient_norm'; expected any of" in message and all(name in message for name in NAMES)
    few = ("quantities", "--only", "accumulated_gradients", "--batch-sizes", "256")
    assert "no batch size is large enough: accumulated_gradients needs 257" in refused(capsys, *few)
    assert "invalid choice: 'bfloat16'" in refused(capsys, "quantities", "--dtype", "bfloat16")


def test_one_file_holds_one_suite(tmp_path, capsys):
    gradients = {key: value for key, value in cell().items() if key != "quantity"} | {"suite": "gradients"}
    path = write(tmp_path / "r.jsonl", gradients)
    before = path.read_bytes()
    one = ("quantities", "--networks", "7-5-3", "--only", "variance", "--out", str(path))
    assert f"{path} has suite gradients and quantities" in refused(capsys, *one)
    assert path.read_bytes() == before
    assert "has suite gradients and quantities" in refused(capsys, "report", str(write(path, cell())))
    path.unlink()
    assert "is not a row of schema 1" in refused(capsys, "report", str(write(path, gradients | {"suite": ["?"]})))
    path.unlink()
    assert "is not a row of schema 1" in refused(
        capsys, "report", str(write(path, gradients | {"suite": "quantities"}))
    )


def test_report_draws_from_the_file_alone(tmp_path, capsys):
    too_large = "9 GB of temporary memory, 6 GB allowed"
    rows = [
        cell(speed=9.0, cost=3.0),
        cell(speed=4.0),
        cell(batch_size=16, speed=30.0, cost=1.5),
        cell("variance", speed=0.5),
        cell("variance", batch_size=16, error="was wrong"),
        cell("noise_scale", speed=1.0, cost=0.9),
        cell(network="5x64", batch_size=16, not_run=too_large),
    ]
    path = write(tmp_path / "r.jsonl", *rows)
    page = reported(capsys, path)
    ranges = {line[0]: line[1:] for line in lines_of(page, 4)}
    assert ranges["gram_matrix"] == ["4.00 to 30.0", "5,000", "1.10 to 1.50"]  # measured twice: the later counts
    assert ranges["variance"] == ["0.50", "5,000", "1.10"]
    cells = {tuple(line[:3]): line[3:] for line in lines_of(page, 13)}
    first = cells["gram_matrix", "7-5-3", "4"]
    assert first[1:4] == ["176 µs", "4.00 [4.00, 4.00]", "1.10 [1.10, 1.10]"]
    assert first[4:] == ["1.01 [1.01, 1.01]", "1.00 kB", "5.00 MB", "5,000", "1.00 kB", "1e-07"]
    assert cells["variance", "7-5-3", "16"] == ["not timed", *[""] * 9]
    assert cells["gram_matrix", "5x64", "16"][1:3] == ["not run", ""]
    for words in (
        "5 of 6 cells timed on a device",
        "Not timed: variance, 7-5-3 at 16: was wrong.",
        f"Autodiff not run: gram_matrix, 5x64 at 16: {too_large}.",
        "Manual against autodiff: faster in 2, no different in 1, slower in 1: variance in 1.",
        "at most 1.2 times as long as the plain gradient in 4 of 5 in which that can be "
        "told. The control fails in 0. 5 of 5 cells could be told apart from noise.",
    ):
        assert words in page
    assert len(command.SUITE.draw(rows[:3]).axes) == 3


def test_a_program_that_needs_no_memory_has_no_ratio_of_it():
    row = cell()
    row["programs"]["manual"]["temp_bytes"] = 0
    assert table.memory(row) is None and str(table.ranges([row])).splitlines()[-1].split("|")[3].strip() == ""
    row["programs"]["manual"]["temp_bytes"] = None
    assert "?" in str(table.cells([row]))


def test_a_cell_whose_control_fails_is_marked():
    row = cell()
    row["programs"]["control"]["times_s"] = [1.2 * t for t in row["programs"]["gradient"]["times_s"]]
    assert "1.20 [1.20, 1.20] *" in str(table.cells([row])) and "The control fails in 1." in table.summary([row])
    assert math.isclose(table.cost(row).median, 1.1)
    assert "2.00 [2.00, 2.00] *" in str(table.cells([row])) and "2.00 [2.00, 2.00] (too noisy to tell)" in table.line(
        row
    )
    # neither in the ranges nor in the counts
    assert lines_of(str(table.ranges([row])), 4)[1] == [
        "gram_matrix",
        "too noisy to tell",
        "5,000",
        "too noisy to tell",
    ]
    ranges = lines_of(str(table.ranges([row, cell(batch_size=16, speed=3.0, cost=1.5)])), 4)[1]
    assert ranges == ["gram_matrix", "3.00", "5,000", "1.50"]
    words = table.summary([row, cell(batch_size=16, speed=0.5)])
    assert "faster in 0, no different in 0, too noisy to tell in 1, slower in 1: gram_matrix in 1." in words
    assert "in 1 of 1 in which that can be told." in words and "1 of 2 cells could be told apart from noise." in words
    assert text.TOO_BUSY not in words and text.TOO_BUSY in table.summary([row])
