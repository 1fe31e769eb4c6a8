import argparse
import functools
import itertools
import json
import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from benchmark_runs import PREPARED, lines_of, made_row, refused, reported, timed, write
from jax.sharding import AxisType

from benchmarks import blocked, environment, measure, options, plans, records, report, text, timing
from benchmarks.__main__ import main
from benchmarks.gradients import command, programs, table
from benchmarks.plans import NETWORKS
from benchmarks.program import Compiled, random_problem
from reference.compare import largest_error

CACHED = functools.cache(programs.of_cell)
ALWAYS = {"manual", "autodiff", "autodiff_rows", "control"}


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The results file and exit status of a run on a tiny network."""
    path = tmp_path_factory.mktemp("real") / "results.jsonl"
    return path, main([*"--networks 7-5-3 --batch-sizes 1 2 --repeats 6 --out".split(), str(path)])


@pytest.fixture
def fast(monkeypatch):
    """Measure no matrix product, and compile nothing twice."""
    monkeypatch.setattr(programs, "of_cell", CACHED)
    monkeypatch.setattr(environment, "matmul_flops", lambda dtype: 1e11)


def run(path, *options):
    return main(["--networks", "7-5-3", "--batch-sizes", "1", "2", "--repeats", "6", "--out", str(path), *options])


def cell(batch_size, ratio=1.0, error=None, **changes):
    """A row as a run writes it, manual taking `ratio` times as long as autodiff."""
    scales = {"manual": ratio, "autodiff": 1.0, "autodiff_rows": 2.0, "control": 1.01}
    prepared = PREPARED | {"temp_bytes": 512 * batch_size}
    programs = timed(scales, batch_size, 1e-5 * batch_size, prepared)
    return made_row("gradients", programs, error, batch_size=batch_size, **changes)


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


def test_programs_compute_in_the_dtype_asked_for():
    for dtype in command.BOUNDS:
        for name, program in programs.basic(random_problem((7, 5, 3), 2, dtype)).items():
            assert {leaf.dtype for leaf in jax.tree.leaves(jax.eval_shape(program.function, *program.args))} == {
                jnp.dtype(dtype)
            }, name
    four = programs.basic(random_problem((7, 5, 3), 2, "float32"))
    assert four["autodiff_rows"].args[1].shape == (2, 7) and four["autodiff"].args[1].shape == (7, 2)
    assert len({id(program.function) for program in four.values()}) == 4


def test_output_of_a_run(tmp_path, fast, capsys):
    assert run(tmp_path / "r.jsonl") == 0
    out, err = capsys.readouterr()
    rows, _ = records.read(tmp_path / "r.jsonl")
    lines = out.splitlines()
    assert lines[2].startswith("| 7-5-3   |     1 |") and str(tmp_path / "r.jsonl") == lines[-1]
    assert table.page(rows) in out and table.summary(rows) in out
    # not a terminal: a plain line for each cell
    assert err.splitlines() == [f"{n}/2  7-5-3 at {n}: {table.line(row)}" for n, row in enumerate(rows, 1)]


def test_default_file_is_a_local_one(tmp_path, fast, monkeypatch, capsys):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    assert main(["gradients", "--networks", "7-5-3", "--batch-sizes", "1", "--repeats", "6"]) == 0
    (path,) = tmp_path.glob("*")
    assert path.name.startswith(f"local-gradients-{jax.default_backend()}-2") and path.suffix == ".jsonl"
    assert main(["report"]) == 0
    assert path.with_suffix(".png").exists()


def test_a_disagreement_is_found_recorded_and_reported(tmp_path, fast, monkeypatch, capsys):
    right = programs.bp.value_and_grad

    def value_and_grad(network, mesh):
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


def test_rows_survive_the_file(tmp_path):
    rows = [cell(1), cell(4, error="said why")]
    assert records.read(write(tmp_path / "r.jsonl", *rows)) == (rows, [])


def test_a_truncated_last_line_is_left_out_and_written_on(tmp_path, fast, capsys):
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


def test_report_draws_from_the_file_alone(tmp_path, capsys):
    rows = [cell(1, ratio=9.0), cell(4, ratio=0.9), cell(16), cell(64, ratio=1.1), cell(256, error="was wrong")]
    rows[1]["programs"]["manual"] |= {"temp_bytes": 1024, "compile_s": 0.42}
    rows[3]["programs"]["manual"]["temp_bytes"] = 65536
    page = reported(capsys, write(tmp_path / "r.jsonl", *rows, cell(1, ratio=0.5)))
    body = {int(line[1]): line[2:] for line in lines_of(page, 9)[1:]}
    assert {m: line[3] for m, line in body.items()} == {
        1: "manual faster",  # measured twice: the later counts
        4: "manual faster",
        16: "no difference",
        64: "manual slower",
        256: "",
    }
    assert body[64][2] == "1.10 [1.10, 1.10]" and body[4][0] == "36.0 µs" and body[256][0] == "not timed"
    memory = {line[1]: line[2:] for line in lines_of(page, 8)[1:]}
    assert memory["4"] == ["1.02 kB", "2.05 kB", "2.05 kB", "0.50", "20 / 20 / 20", "420 / 200 / 200"]
    assert "256" not in memory
    for sentence in (
        "Manual takes 0.84 of the time of autodiff in the geometric mean: it is faster in 2, no different in 1, "
        "slower in 1: 7-5-3 at 64 (1.10 [1.10, 1.10]). Where the control passes, its interval reaches above 1.05 in 1: "
        "7-5-3 at 64 (1.10 [1.10, 1.10]).",
        "Manual takes 0.42 of the time of autodiff over rows in the geometric mean: it is faster in 4, ",
        "Manual needs 1.00 of the memory of autodiff in the geometric mean, from 0.50 to 2.00; more in 1 of 4 cells: "
        "7-5-3 at 64 (2.00).",
        "Lowering and compiling manual takes 1.00 of the time of autodiff in the median over cells.",
        "The control passes in 4 of 4 cells.",
        "Not timed: 7-5-3 at 256: was wrong.",
    ):
        assert sentence in page
    assert len(command.SUITE.draw([cell(m) for m in (1, 4, 16)]).axes) == 3


def test_memory_and_compile_time_that_are_not_known():
    row = cell(4)
    row["programs"]["manual"] = {"first_s": 1.0, "times_s": row["programs"]["manual"]["times_s"]}
    row["programs"]["autodiff"] |= {"lower_s": 1e-4, "compile_s": 1e-5}  # JAX had it already
    (line,) = lines_of(table.memory_and_compiling([row]), 8)[1:]
    assert line[2:] == ["?", "2.05 kB", "2.05 kB", "", "? / ? / 20", "? / ? / 200"]
    assert "memory" not in table.summary([row]) and "Lowering" not in table.summary([row])


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


def synthetic(ratio, rounds, seed, noise=0.03):
    """Times of two programs on a machine whose speed drifts, their median ratio known."""
    rng = np.random.default_rng(seed)
    drift = np.exp(np.cumsum(rng.normal(0, 0.05, rounds)))
    return ratio * drift * rng.lognormal(0, noise, rounds), drift * rng.lognormal(0, noise, rounds)


def test_interval_holds_the_true_ratio_and_shows_a_shift():
    for rounds, least in ((8, 0.84), (40, 0.9), (200, 0.9)):
        found = [timing.ratio(*synthetic(0.8, rounds, seed)) for seed in range(100)]
        assert np.mean([r.low <= 0.8 <= r.high for r in found]) >= least
        assert all(r.low <= r.median <= r.high for r in found)
    shifted = [timing.ratio(*synthetic(ratio, 40, 1)) for ratio in (1 / 1.1, 1.0, 1.1)]
    assert [r.verdict for r in shifted] == ["manual faster", "no difference", "manual slower"]
    assert timing.ratio(*synthetic(1.1, 40, 1)) == shifted[2]  # the same times, the same interval


def test_control():
    assert timing.Ratio(0.97, 0.96, 0.98).passes_as_control
    assert not timing.Ratio(1.0, 0.94, 1.0).passes_as_control and not timing.Ratio(1.0, 1.0, 1.06).passes_as_control


def test_orders_are_balanced():
    for n in (1, 2, 3, 4, 5):
        orders = timing.balanced_orders(n)
        copies = len(orders) // n
        assert all(sorted(place) == sorted(list(range(n)) * copies) for place in zip(*orders, strict=True))
        followed = sorted(pair for order in orders for pair in itertools.pairwise(order))
        assert followed == sorted(list(itertools.permutations(range(n), 2)) * copies)


def test_rounds_keep_to_the_plan(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(clock)))
    called, fractions = [], []
    calls = {name: Compiled(called.append, (name,)) for name in "abcd"}
    times = timing.take_turns(calls, 50.0, 3, 100, fractions.append)
    rounds = len(times["a"])
    assert 3 < rounds < 10 and {len(t) for t in times.values()} == {rounds} and times["a"] == [1.0] * rounds
    assert called[-4 * rounds :][:8] == list("abdcbcad")
    assert fractions == sorted(fractions) and 0 <= fractions[0] and 0.5 < fractions[-1] <= 1
    assert len(timing.take_turns(calls, 1.0, 7, 7)["a"]) == 7
    assert len(timing.take_turns(calls, 1e3, 1, 5)["a"]) == 5


def test_flops():
    # two layers, two examples: Z and dW of both, dA of the first
    assert programs.flops((7, 5, 3), 2) == 2 * (2 * (35 + 15) + 2 * (35 + 15) + 2 * 15)


def test_autodiff_in_the_blocks_of_manual(monkeypatch):
    """Every block size gives the gradient; there is a program where manual takes blocks, and else a word."""
    problem = random_problem((7, 5, 3), 11, "float64")
    right = programs.basic(problem)["autodiff"].result()
    args = problem.params, problem.X, problem.Y
    for block in (1, 3, 11):
        assert largest_error(jax.jit(blocked.value_and_grad(problem.model, block))(*args), right) <= 1e-14
    absent = "manual takes all examples at once, as autodiff does"
    assert programs.of_cell((7, 5, 3), 11, "float64")["autodiff_blocks"] == absent
    monkeypatch.setattr(programs.blocks, "auto", lambda *args: 4)
    made = programs.of_cell((7, 5, 3), 11, "float64")["autodiff_blocks"]
    assert isinstance(made, Compiled) and largest_error(made.result(), right) <= 1e-14
    assert str(jax.make_jaxpr(made.function)(*made.args)).count("scan[") == 1


@pytest.mark.parametrize("name", programs.PEERS)
def test_torch_computes_the_same_gradient(name):
    pytest.importorskip("torch")
    with jax.enable_x64(False):
        problem = random_problem((12, 8, 6, 3), 5, "float32")
        right = programs.basic(problem)["autodiff"].result()
        made = programs.of_cell((12, 8, 6, 3), 5, "float32", peers=True)[name]
        assert not isinstance(made, str)
        if "not_run" in made.preparation:
            assert name == "torch_compile"  # no compiler of C++
            return
        found = made.result()
    assert measure._kinds(found) == measure._kinds(right)
    assert 0 < largest_error(found, right) <= 1e-6
    assert made.preparation["first_s"] > 0 and made.preparation["library"].startswith("torch ")


def test_torch_is_asked_for(tmp_path, fast, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(programs, "of_cell", lambda *args: asked.append(args[3]) or CACHED(*args[:3]))
    assert run(tmp_path / "r.jsonl", "--batch-sizes", "2") == 0
    monkeypatch.setattr(command, "is_here", lambda package: False)
    assert run(tmp_path / "s.jsonl", "--batch-sizes", "2", "--peers") == 0
    assert asked == [False, True]
    assert "torch is not installed and will not be timed: pip install 'manual_bp[peers]'" in capsys.readouterr().err
    assert "--peers compares in float32" in refused(capsys, "--peers", "--dtype", "float64")
    with monkeypatch.context() as patch:
        patch.setattr(programs, "is_here", lambda package: False)
        absent = CACHED.__wrapped__((7, 5, 3), 2, "float32", True)
    assert {absent[name] for name in programs.PEERS} == {"torch cannot be imported: pip install 'manual_bp[peers]'"}


def test_over_the_cores(tmp_path, monkeypatch, capsys):
    """Manual and autodiff in blocks both use the devices, and still give the gradient."""
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    monkeypatch.setattr(command.bp, "use_cpu_devices", lambda: mesh)
    monkeypatch.setattr(environment, "matmul_flops", lambda dtype: 1e11)
    monkeypatch.setattr(programs.blocks, "auto", lambda sizes, m, itemsize: 2)
    assert run(tmp_path / "r.jsonl", "--batch-sizes", "7", "8", "--cores") == 0
    (odd, even), _ = records.read(tmp_path / "r.jsonl")
    assert odd["programs"]["autodiff_blocks"] == {"not_run": "7 examples do not divide by 2 devices"}
    assert even["errors"].keys() == {"manual", "autodiff_rows", "autodiff_blocks", "manual_one_device", "control"}
    assert all(e < 1e-5 for errors in even["errors"].values() for e in errors.values())
    for name in ("manual", "autodiff_blocks", "manual_one_device"):
        made = programs.of_cell((7, 5, 3), 8, "float32", mesh=mesh)[name]
        assert isinstance(made, Compiled)
        traced = str(jax.make_jaxpr(made.function)(*made.args))
        assert "scan" in traced and ("psum" in traced) == (name != "manual_one_device")
    assert f"threads as {jax.device_count()} devices" in text.conditions(even)


def test_a_table_of_the_others(tmp_path, capsys):
    """Only of the cells that have any; a file from before there were any is read as it was."""
    without, both = cell(1), cell(4)
    manual = both["programs"]["manual"]["times_s"]
    both["programs"]["torch_eager"] = {"library": "torch 2", "first_s": 0.1, "times_s": [4 * t for t in manual]}
    both["programs"]["torch_compile"] = {"not_run": "RuntimeError: no compiler"}
    both["programs"]["autodiff_blocks"] = {"not_run": "manual takes all examples at once"}
    page = table.page([without, both])
    (line,) = [line for line in page.splitlines() if "0.25 [0.25, 0.25]" in line]
    assert [c.strip() for c in line.split("|")[1:4]] == ["7-5-3", "4", "0.25 [0.25, 0.25]"]
    assert "of the time of PyTorch in the geometric mean: it is faster in 1," in page
    assert (
        "torch.compile in the" not in page
        and "manual / torch.compile" not in page
        and "PyTorch" not in table.page([without])
    )


def test_plans():
    assert options.network("5x64") == ("5x64", (64, 64, 64, 64, 64, 10))
    assert all(name == "-".join(map(str, sizes)) for name, sizes in NETWORKS.items() if name != "5x64")
    quick, full, scaling, depth = plans.GRADIENTS.values()
    assert full.batch_sizes == (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536)
    assert set(quick.points) < set(full.points) and len(full.points) == len(set(full.points)) == 36
    assert [len(sizes) - 1 for (_, sizes), m in depth.points] == [5, 15, 30, 60]
    sizes = [(len(sizes) - 1, sizes[0], m) for (_, sizes), m in scaling.points]
    assert [m for layers, _, m in sizes[:9] if layers == 5] == list(full.batch_sizes)
    assert {width for layers, width, m in sizes if (layers, m) == (4, 256)} == {2**k for k in range(4, 12)}
    assert {layers for layers, width, m in sizes if (width, m) == (64, 256)} == {2, 4, 5, 8, 16, 32, 64}
    assert len(sizes) == len(set(sizes)) == 22  # 4x64 once, though it is wider and deeper


def test_what_is_given_replaces_the_plan():
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)

    def chosen(*argv):
        return options.chosen_plan(parser.parse_args(argv), plans.GRADIENTS)

    assert chosen() == chosen("--quick") == plans.GRADIENTS["quick"] and chosen("--full") == plans.GRADIENTS["full"]
    assert chosen("--plan", "scaling") == plans.GRADIENTS["scaling"]
    given = chosen("--plan", "scaling", "--batch-sizes", "3", "--repeats", "7")
    assert given.points == [(("5x64", NETWORKS["5x64"]), 3)] and (given.least, given.most) == (7, 7)
    assert chosen("--full", "--networks", "7-5").points[0] == (("7-5", (7, 5)), 1)


def test_results_are_strictly_json(tmp_path):
    with pytest.raises(ValueError):
        records.append(tmp_path / "r.jsonl", cell(1, errors={"manual": {"cost": math.nan}}))
    assert not (tmp_path / "r.jsonl").exists()
    assert json.loads(json.dumps(cell(1))) == cell(1)
