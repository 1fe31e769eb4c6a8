import jax
import jax.numpy as jnp
import pytest
from benchmark_runs import made_row, refused, write

import manual_bp as bp
from benchmarks import environment, records
from benchmarks.__main__ import main
from benchmarks.memory import command, programs, table
from benchmarks.memory.plots import draw
from reference.compare import largest_error

PROGRAMS = {"manual", "autodiff", "autodiff_rows"}


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    """No matrix product is measured."""
    monkeypatch.setattr(environment, "matmul_flops", lambda dtype: 1e11)


def run(path, *more):
    return main(["memory", "--networks", "7-5-3", "--batch-sizes", "4", "--out", str(path), *more])


def cell(part="gradient", m=4, manual=100, error=None, **changes):
    needed = {"manual": manual, "autodiff": 200, "autodiff_rows": 300}
    of = {p: {"temp_bytes": n, "argument_bytes": 50, "result_bytes": 2000} for p, n in needed.items()}
    return made_row("memory", of, error, part=part, batch_size=m, **changes)


def test_a_run_writes_a_row_for_each_cell(tmp_path, capsys):
    assert run(tmp_path / "r.jsonl") == 0
    rows, notes = records.read(tmp_path / "r.jsonl")
    assert notes == [] and [row["part"] for row in rows] == ["gradient", "step"]
    for row in rows:
        assert tuple(row) == records.FIELDS["memory"] and row["programs"].keys() == PROGRAMS
        for needed in row["programs"].values():
            assert needed.keys() == {"temp_bytes", "argument_bytes", "result_bytes"} and min(needed.values()) >= 0
    gradient = rows[0]["programs"]["manual"]
    # X, Y and the parameters; the cost and a gradient like the parameters, each array in a place of its own
    parameters = 4 * (7 * 5 + 5 + 5 * 3 + 3)
    assert gradient["argument_bytes"] == 4 * (7 * 4 + 4) + parameters
    assert parameters + 4 <= gradient["result_bytes"] <= parameters + 4 + 8 * 8
    out, err = capsys.readouterr()
    assert table.page(rows) in out and err.splitlines()[0].startswith("1/2  gradient, 7-5-3 at 4: manual ")


@pytest.mark.parametrize("part", ["gradient", "step"])
def test_the_programs_compute_the_same(part):
    """What is compiled here is what the other suites time."""
    with jax.enable_x64(False):
        of = programs.shapes((7, 5, 3), 4, "float32")
        X, Y = jax.random.normal(jax.random.key(1), of.X.shape), jnp.arange(4) % 3
        results = {}
        for name, (function, (_, examples, _)) in programs.PARTS[part](of).items():
            state = bp.train_state(of.network, programs.OPTIMIZER, jax.random.key(0))
            pair = state.params, state.optimizer_state
            first = state.params if part == "gradient" else state if name == "manual" else pair
            results[name] = function(first, X.T if examples.shape == (4, 7) else X, Y)
    right, *others = (jax.tree.leaves(results[name])[:4] for name in ("autodiff", "autodiff_rows", "manual"))
    assert results.keys() == PROGRAMS and all(largest_error(found, right) <= 1e-6 for found in others)


def test_at_sizes_that_are_never_run():
    found = programs.needed("gradient", (64, 64, 10), 10**8, "float32")
    assert all((found[name]["temp_bytes"] or 0) > 4 * 10**8 * (64 + 10) for name in ("autodiff", "autodiff_rows"))


def test_a_cell_that_does_not_compile(tmp_path, monkeypatch, capsys):
    def too_large(*args):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: too large\nand a long story")

    monkeypatch.setattr(command.programs, "needed", too_large)
    assert run(tmp_path / "r.jsonl") == 1
    rows, _ = records.read(tmp_path / "r.jsonl")
    assert {row["error"] for row in rows} == {"RESOURCE_EXHAUSTED: too large"}
    assert main(["report", str(tmp_path / "r.jsonl")]) == 0
    assert "Not compiled: step, 7-5-3 at 4: RESOURCE_EXHAUSTED: too large." in capsys.readouterr().out


def test_the_page(tmp_path):
    rows = [cell(), cell(m=16, manual=250), cell("step", manual=20), cell("many_classes", error="too large")]
    page = table.page(rows)
    assert "autodiff needs 1.26 times manual's in the geometric mean, from 0.80 to 2.00" in page
    assert "manual more than autodiff in 1 of 2 cells: 7-5-3 at 16 (0.80)." in page
    assert "A step of Adam: autodiff needs 10.0 times" in page and "in 0 of 1 cells." in page
    (line,) = [line for line in page.splitlines() if line.startswith("| 7-5-3   |    16 ")]
    # 4 bytes for each of 5 + 3 units and of the wider layer
    figures = ["0.25 kB", "0.20 kB", "0.30 kB", "0.80", "16 B", "52 B", "2.00 kB"]
    assert [c.strip() for c in line.split("|")[3:-1]] == figures
    assert table.saving(cell(manual=0)) is None
    png, svg = draw([row for row in rows if not row["error"]], tmp_path / "r")
    assert png.stat().st_size > 10_000 and svg.read_text().count('<g id="axes_') == 2


def test_report(tmp_path, capsys):
    path = write(tmp_path / "r.jsonl", cell(), cell("step"))
    assert main(["report", str(path)]) == 0
    assert (tmp_path / "r.md").read_text().count("temporary memory against batch size") == 1


def test_requests_that_cannot_be_met(capsys):
    assert "unrecognized arguments: --repeats 8" in refused(capsys, "memory", "--repeats", "8")
    assert "unknown network 'lenet'" in refused(capsys, "memory", "--networks", "lenet")
