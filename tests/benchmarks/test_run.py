import itertools
import math
import os
import sys

import jax
import jax.numpy as jnp
import pytest
from benchmark_runs import ALWAYS, CACHED, made_row, refused, run, write
from benchmark_runs import gradients as cell

from benchmarks import environment, measure, page, plans, records, rows, timing
from benchmarks.__main__ import main
from benchmarks.display import markdown
from benchmarks.gradients import command, programs, table
from benchmarks.program import Compiled, random_problem


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The results file and exit status of a run on a tiny network."""
    path = tmp_path_factory.mktemp("real") / "results.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "of_cell", CACHED)
        return path, run(path)


def test_run_writes_a_whole_row_for_each_cell(real):
    path, status = real
    rows, notes = records.read(path)
    assert status == 0 and notes == [] and [row["batch_size"] for row in rows] == [1, 2]
    for row in rows:
        assert tuple(row) == records.FIELDS["gradients"]
        assert (row["network"], row["sizes"], row["error"]) == ("7-5-3", [7, 5, 3], None)
        assert row["environment"].keys() == {
            *("device", "backend", "devices", "platform", "threads", "python", "numpy", "jax", "jaxlib"),
            *("commit", "dtype", "matmul_precision"),
        }
        assert row["environment"]["dtype"] == "float32" and row["environment"]["device"]
        assert 1e8 < row["matmul_flops_per_s"] < 1e16
        assert row["programs"].keys() == ALWAYS | {"autodiff_blocks"}
        for program in map(row["programs"].get, ALWAYS):
            assert len(program["times_s"]) == 6 and all(0 < t < 10 for t in program["times_s"])
            assert program["lower_s"] > 0 and program["compile_s"] > 0 and program["temp_bytes"] >= 0
        assert row["errors"].keys() == ALWAYS - {"autodiff"}
        for errors in row["errors"].values():
            assert list(errors) == ["cost", "dW[1]", "db[1]", "dW[2]", "db[2]"]
            assert all(0 <= e < 1e-5 for e in errors.values())


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_run_in_another_dtype(tmp_path, fast, dtype):
    assert run(tmp_path / "r.jsonl", "--dtype", dtype, "--batch-sizes", "2") == 0
    (row,), _ = records.read(tmp_path / "r.jsonl")
    assert row["environment"]["dtype"] == dtype
    # float64 was really computed in: float32 would be nine digits off
    assert 0 <= max(row["errors"]["autodiff_rows"].values()) < command.BOUNDS[dtype]


def test_output_of_a_run(tmp_path, fast, drawing, capsys):
    assert run(tmp_path / "r.jsonl") == 0
    out, err = capsys.readouterr()
    rows, _ = records.read(tmp_path / "r.jsonl")
    lines = out.splitlines()
    assert lines[2].startswith("| 7-5-3   |     1 |") and markdown(table.page(rows)) in out
    # the result in three lines
    drawn = [str(tmp_path / f"r.{ending}") for ending in ("png", "md", "jsonl")]
    assert lines[-4:] == ["", *table.ending(rows), "Plot: {}. All figures: {}. Results: {}".format(*drawn)]
    assert all(map(os.path.exists, drawn)) and markdown(table.page(rows)) in (tmp_path / "r.md").read_text("utf-8")
    # not a terminal: a plain line for each cell
    assert err.splitlines() == [f"{n}/2  7-5-3 at {n}: {table.line(row)}" for n, row in enumerate(rows, 1)]


def test_default_file_is_a_local_one(tmp_path, made_up, drawing, monkeypatch, capsys):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    assert main(["gradients", "--networks", "7-5-3", "--batch-sizes", "1", "--repeats", "6"]) == 0
    (path,) = tmp_path.glob("*.jsonl")
    device = records.read(path)[0][0]["environment"]["device"]
    assert path.name.startswith(f"local-gradients-{environment.slug(device)}-2")
    path.with_suffix(".png").unlink()
    assert main(["report"]) == 0
    assert path.with_suffix(".png").exists()


def test_a_disagreement_is_found_recorded_and_reported(tmp_path, fast, monkeypatch, capsys):
    right = programs.bp.value_and_grad

    def value_and_grad(network, **options):
        @jax.jit
        def slightly_wrong(params, X, Y):
            c, (first, *rest) = right(network)(params, X, Y)
            scale = 1.01 if X.shape[1] == 2 else 1.0
            return c, (first._replace(W=scale * first.W), *rest)

        return slightly_wrong

    monkeypatch.setattr(programs.bp, "value_and_grad", value_and_grad)
    monkeypatch.setattr(programs, "of_cell", CACHED.__wrapped__)
    assert run(tmp_path / "r.jsonl") == 1
    (good, bad), _ = records.read(tmp_path / "r.jsonl")
    assert good["error"] is None and good["programs"].keys() == ALWAYS | {"autodiff_blocks"}
    assert bad["error"] == "manual differs from autodiff: dW[1] by 1.0e-02 in norm, 1.0e-03 allowed"
    assert bad["programs"] == {}
    assert bad["errors"]["manual"]["dW[1]"] == pytest.approx(0.01, rel=1e-3) and bad["errors"]["manual"]["db[1]"] < 1e-5
    out, err = capsys.readouterr()
    assert bad["error"] in err and bad["error"] in out and "not timed" in out
    assert main(["report", str(tmp_path / "r.jsonl")]) == 0
    assert bad["error"] in capsys.readouterr().out


def test_other_ways_to_disagree():
    four = programs.basic(random_problem((7, 5, 3), 2, "float32"))
    right = four["manual"]

    def compare(change):
        wrong = Compiled(lambda *args: change(right.function(*args)), right.args)
        errors, error = measure.compare(command.SUITE, four | {"manual": wrong}, 1e-3, "autodiff")
        assert all(e is None or math.isfinite(e) for e in errors.get("manual", {}).values())
        return error or ""

    assert compare(lambda result: result) == ""
    assert "cost by nan" in compare(lambda result: jax.tree.map(lambda leaf: leaf * math.nan, result))
    assert "structure" in compare(lambda result: (result[0], list(result[1])))
    assert "dtypes" in compare(lambda result: jax.tree.map(lambda leaf: leaf.astype("float16"), result))
    # the truth of a dead network is zero: what is added to it is measured by the whole gradient, here also zero
    suite = command.SUITE._replace(compared=("manual",))
    dead = {name: Compiled(lambda: (jnp.ones(()), ((jnp.zeros(2),) * 2,)), ()) for name in ("autodiff", "manual")}
    errors = {"manual": dict.fromkeys(("cost", "dW[1]", "db[1]"), 0.0)}
    assert measure.compare(suite, dead, 1e-3, "autodiff") == (errors, None)
    dead["manual"] = Compiled(lambda: (jnp.ones(()), ((jnp.ones(2),) * 2,)), ())
    error = "manual differs from autodiff: dW[1] by 1.4e+00 in norm, 1.0e-03 allowed"
    assert measure.compare(suite, dead, 1e-3, "autodiff")[1] == error


def test_a_cell_that_cannot_run_leaves_the_others(tmp_path, fast, monkeypatch, capsys):
    def too_large(sizes, batch_size, *more):
        if batch_size == 1:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory\nand a long story")
        return CACHED(sizes, batch_size, *more)

    monkeypatch.setattr(programs, "of_cell", too_large)
    assert run(tmp_path / "r.jsonl") == 1
    (bad, good), _ = records.read(tmp_path / "r.jsonl")
    assert bad["error"] == "RESOURCE_EXHAUSTED: out of memory" and good["error"] is None


def test_finished_cells_survive_an_interruption(tmp_path, fast, monkeypatch, capsys):
    right = timing.take_turns
    calls = itertools.count()

    def take_turns(*args):
        if next(calls) == 1:
            raise KeyboardInterrupt
        return right(*args)

    monkeypatch.setattr(timing, "take_turns", take_turns)
    assert run(tmp_path / "r.jsonl") == 130
    assert [row["batch_size"] for row in records.read(tmp_path / "r.jsonl")[0]] == [1]
    assert "kept" in capsys.readouterr().err


def test_requests_that_cannot_be_met(tmp_path, capsys, monkeypatch):
    assert "unknown network 'lenet'; expected 784-128-10, " in refused(capsys, "--networks", "lenet")
    assert "no gpu here: JAX computes on cpu" in _without_gpu(capsys, monkeypatch)
    assert "'0' is not a whole number" in refused(capsys, "--batch-sizes", "0")
    assert "6 or more" in refused(capsys, "--repeats", "5")
    assert "No such file" in refused(capsys, "report", str(tmp_path / "none.jsonl"))
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    assert "no results" in refused(capsys, "report")
    path = write(tmp_path / "r.jsonl", cell(1), cell(4, environment=cell(4)["environment"] | {"dtype": "float64"}))
    assert f"{path} has dtype float32 and float64" in refused(capsys, "report", str(path))


def _without_gpu(capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(environment.jax, "default_backend", lambda: "cpu")
        return refused(capsys, "--device", "gpu")


@pytest.mark.parametrize("module, argv", [("rich", ()), ("matplotlib", ("report",))])
def test_a_missing_extra_is_named(monkeypatch, capsys, module, argv):
    monkeypatch.setitem(sys.modules, module, None)
    assert f"needs {module}: pip install 'manual_bp[bench]'" in refused(capsys, *argv)


@pytest.fixture
def shaky(monkeypatch):
    """Makes a run measure given noise: by batch size, the controls and seconds of its takes; the takes that it made."""
    clock, made = [0.0], []

    def measured(takes, *options):
        def measure_cell(suite, of, *args):
            m = of.fields["batch_size"]
            made.append(m)
            control, seconds = takes[m][made.count(m) - 1]
            clock[0] += seconds
            return {field: cell(m, control=control)[field] for field in ("errors", "error", "programs")}

        monkeypatch.setattr(measure, "measure_cell", measure_cell)
        monkeypatch.setattr(measure.time, "monotonic", lambda: clock[0])
        status = main(["--networks", "7-5-3", "--batch-sizes", *map(str, takes), *options])
        return status, made

    return measured


def test_noisy_cells_are_measured_again_the_noisiest_first(tmp_path, shaky, capsys):
    """A cell is measured again at most twice. All rounds count, in one row of the report and the last of the file."""
    path = tmp_path / "r.jsonl"
    takes = {1: [(1.0, 0.1)], 2: [(1.1, 0.1)] * 3, 4: [(1.3, 0.1), (1.0, 0.1), (1.0, 0.1)], 8: [(1.2, 0.1)] * 3}
    assert shaky(takes, "--out", str(path)) == (0, [1, 2, 4, 8, 4, 4, 8, 8, 2, 2])
    found = page.cells(path)
    rounds = {name: len(row["programs"]["control"]["times_s"]) for name, row in found.items()}
    assert rounds == {"7-5-3 at 1": 40, "7-5-3 at 2": 120, "7-5-3 at 4": 120, "7-5-3 at 8": 120}
    assert [rows.is_told(row, table.ratio(row)) for row in found.values()] == [True, False, True, False]
    out, err = capsys.readouterr()
    assert "4 of 4 cells timed" in out and len(records.read(path)[0]) == 10
    assert err.splitlines()[4].startswith("again, noisy: 7-5-3 at 4: manual / autodiff ")


def test_measuring_again_stays_within_the_time(tmp_path, shaky):
    """Half of the plan's: half a second for each of three cells."""
    again = [(1.2, 0.8), (1.2, 0.8), (1.2, 0.8)]
    takes = {1: [(1.3, 9.0)], 2: again, 4: [(1.1, 0.6), (1.0, 0.6), (1.0, 0.6)]}
    # the noisiest takes too long; after the next 0.7 s are left, and the time of a second one is not
    assert shaky(takes, "--out", str(tmp_path / "r.jsonl"))[1] == [1, 2, 4, 2, 4]


def test_a_given_number_of_rounds_is_kept(tmp_path, shaky):
    assert shaky({1: [(1.3, 0.1)]}, "--out", str(tmp_path / "r.jsonl"), "--repeats", "6")[1] == [1]


def test_an_interruption_while_measuring_again_keeps_what_there_was(tmp_path, shaky, monkeypatch):
    path = tmp_path / "r.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr(measure.rows, "pooled", lambda before, after: (_ for _ in ()).throw(KeyboardInterrupt))
        assert shaky({1: [(1.3, 0.1)] * 2}, "--out", str(path))[0] == 130
    assert len(records.read(path)[0]) == 1


def test_rounds_are_pooled():
    before, after = cell(4), cell(4, 2.0, date="later")
    before["programs"]["torch_eager"] = after["programs"]["torch_eager"] = {"not_run": "no torch"}
    after["programs"]["manual"]["compile_s"] = 1e-5
    both = rows.pooled(before, after)
    assert both["date"] == "later" and both["programs"]["torch_eager"] == {"not_run": "no torch"}
    times = [row["programs"]["manual"]["times_s"] for row in (before, after)]
    assert both["programs"]["manual"] == before["programs"]["manual"] | {"times_s": times[0] + times[1]}
    assert len(before["programs"]["manual"]["times_s"]) == 40
    # without the times of all programs there are no pairs to add
    assert rows.pooled(before, cell(4, error="ran out of memory")) == before
    training = [
        made_row("training", row["programs"], others_cpu=share) for row, share in ((before, 0.02), (after, 0.1))
    ]
    assert rows.pooled(*training)["others_cpu"] == 0.06
    assert rows.pooled(training[0] | {"others_cpu": None}, training[1])["others_cpu"] is None


def test_a_measurement_again_is_real(tmp_path, fast, monkeypatch):
    """Nothing is made up: a cell whose control fails gets more rounds of the same programs."""
    quick = plans.GRADIENTS["quick"]._replace(seconds=20.0, least=6, most=6)
    monkeypatch.setitem(plans.GRADIENTS, "quick", quick)
    right = timing.take_turns

    def take_turns(programs, seconds, *more):
        times = right(programs, 0.01, *more)
        return times | {"control": [2 * s for s in times["control"]]}

    monkeypatch.setattr(timing, "take_turns", take_turns)
    path = tmp_path / "r.jsonl"
    assert main(["--networks", "7-5-3", "--batch-sizes", "2", "--out", str(path)]) == 0
    assert [len(row["programs"]["manual"]["times_s"]) for row in records.read(path)[0]] == [6, 12, 18]


def test_the_page_does_not_overwrite_the_results(capsys):
    assert "r.md: the page and the plot of results get this ending" in refused(capsys, "--out", "r.md")


def test_results_are_written_without_matplotlib_too(tmp_path, made_up, drawing, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    path = tmp_path / "r.jsonl"
    assert run(path, "--batch-sizes", "2") == 0
    words = f"Results: {path}. There is a plot as well with matplotlib: pip install 'manual_bp[bench]'"
    assert capsys.readouterr().out.splitlines()[-1] == words and list(tmp_path.iterdir()) == [path]
