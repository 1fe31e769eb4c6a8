import jax
import numpy as np
import pytest
from benchmark_runs import made_row, write
from jax.experimental.compilation_cache import compilation_cache

from benchmarks import environment, measure, records
from benchmarks.__main__ import main
from benchmarks.compile import command, programs, table
from benchmarks.problem import equal_widths
from manual_bp import _gradient

PROGRAMS = {"manual", "autodiff", "autodiff_rows", "control"}


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    """No matrix product is measured, and what a run turns off is on again."""
    monkeypatch.setattr(environment, "matmul_flops", lambda dtype: 1e11)
    yield
    jax.config.update("jax_enable_compilation_cache", True)


@pytest.fixture
def compiled():
    """Grows by one with each program that XLA compiles."""
    seen = []

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield seen
    jax.monitoring.unregister_event_duration_listener(listen)


def run(path, *options):
    tiny = "compile --networks 7-3 --batch-sizes 4 --repeats 6 --out".split()
    return main([*tiny, str(path), *options])


def cell(part="compile", layers=5, batch_size=4, ratio=1.0, control=1.01, error=None):
    """A row as a run writes it: manual takes `ratio` times as long as autodiff, a quarter of it to lower."""
    seconds = 0.1 * layers * np.random.default_rng(layers).lognormal(0, 0.002, 40)
    scale = {"manual": ratio, "autodiff": 1.0, "autodiff_rows": 2.0, "control": control}
    timed = {}
    for name, s in scale.items():
        times = {"times_s": list(s * seconds)}
        before = {"lower_s": 0.02, "compile_s": 0.2, "temp_bytes": 512}
        timed[name] = before | times if part == "run" else times | {"lower_times_s": list(s * seconds / 4)}
    network, sizes = equal_widths(layers, 64)
    fields = {"part": part, "network": network, "sizes": list(sizes), "batch_size": batch_size}
    return made_row("compile", timed, error, **fields)


def test_a_run_agrees_and_its_rows_are_whole(tmp_path, capsys):
    path = tmp_path / "r.jsonl"
    assert run(path) == 0
    rows, notes = records.read(path)
    assert notes == [] and [row["part"] for row in rows] == ["compile", "run"]
    for row in rows:
        assert tuple(row) == records.FIELDS["compile"]
        told = [row[key] for key in ("network", "sizes", "batch_size", "error")]
        assert told == ["7-3", [7, 3], 4, None]
        assert row["programs"].keys() == PROGRAMS and row["errors"].keys() == PROGRAMS - {"autodiff"}
        for errors in row["errors"].values():
            assert list(errors) == ["cost", "dW[1]", "db[1]"] and max(errors.values()) < 1e-5
    compile, run_ = (row["programs"] for row in rows)
    for name in PROGRAMS:
        assert compile[name].keys() == {"times_s", "lower_times_s"}
        times, lowering = compile[name]["times_s"], compile[name]["lower_times_s"]
        assert len(times) == len(lowering) == 6
        assert all(0 < l < t for t, l in zip(times, lowering, strict=True))
        # the whole differs from a cached one by orders of magnitude
        assert min(times) > 10 * np.median(run_[name]["times_s"])
        assert run_[name].keys() == {"lower_s", "compile_s", "temp_bytes", "times_s"}
    out, err = capsys.readouterr()
    assert table.page(rows) in out and out.splitlines()[-1] == str(path)
    assert err.startswith("1/2  compile, 7-3 at 4: manual / autodiff ")


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_every_call_compiles_anew(name, compiled):
    program = programs.compilations((7, 3), 4, "float32")[name]
    for calls in (1, 2, 3):
        program.ready()
        before = len(compiled)
        program()
        assert len(compiled) == before + 1 and len(program.lower_times) == calls


def test_without_clearing_the_manual_program_would_be_found_again(compiled):
    """That `ready` is what makes a call compile."""
    program = programs.compilations((7, 3), 4, "float32")["manual"]
    program.ready()
    program()
    before = len(compiled)
    program()
    assert len(compiled) == before


def test_the_manual_program_is_traced_anew(monkeypatch):
    seen = []
    right = _gradient.cost_forward
    monkeypatch.setattr(_gradient, "cost_forward", lambda *args: (seen.append(1), right(*args))[1])
    program = programs.compilations((7, 3), 4, "float32")["manual"]
    for calls in (1, 2):
        program.ready()
        program()
        assert len(seen) == calls


def test_nothing_is_read_from_disk(tmp_path, monkeypatch, capsys):
    """With a persistent cache set up that keeps everything, a run leaves nothing in it; before the run it would."""
    monkeypatch.setattr(programs, "PARTS", ("compile",))
    twice = {name: programs.Compilation(lambda: jax.jit(lambda x: (2 * x, ())), (1.0,)) for name in PROGRAMS}
    monkeypatch.setattr(programs, "compilations", lambda *of: twice)
    small = {"jax_persistent_cache_min_compile_time_secs": 0, "jax_persistent_cache_min_entry_size_bytes": -1}
    settings = {"jax_compilation_cache_dir": str(tmp_path / "cache")} | small
    before = {name: jax.config.values[name] for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    try:
        jax.jit(lambda x: x * 3)(1.0)
        kept = set((tmp_path / "cache").iterdir())
        assert kept
        compilation_cache.reset_cache()
        assert run(tmp_path / "r.jsonl") == 0
        assert set((tmp_path / "cache").iterdir()) == kept
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


def test_what_is_compared_is_what_was_compiled(tmp_path, monkeypatch, capsys):
    right = programs.bp.value_and_grad

    def slightly_wrong(network, mesh=None):
        return jax.jit(lambda params, X, Y: jax.tree.map(lambda leaf: 1.01 * leaf, right(network)(params, X, Y)))

    monkeypatch.setattr(programs.bp, "value_and_grad", slightly_wrong)
    assert run(tmp_path / "r.jsonl") == 1
    rows, _ = records.read(tmp_path / "r.jsonl")
    for row in rows:
        assert row["error"] == "manual differs from autodiff: cost by 1.0e-02 in norm, 1.0e-03 allowed"
    assert "Not timed: compile, 7-3 at 4: manual differs" in capsys.readouterr().out


def test_lowering_is_told_of_the_calls_that_were_timed():
    program = programs.Compilation(lambda: None, ())
    program.lower_times = [9.0, 9.0, 1.000004, 2.0]  # the first two warmed up
    assert programs.of_calls(program, 2) == {"lower_times_s": [1.0, 2.0]}
    row = cell()
    row["programs"]["manual"] = {"times_s": [3.0, 5.0, 9.0], "lower_times_s": [1.0, 4.0, 2.0]}
    assert (table.lowering(row, "manual"), table.compiling(row, "manual")) == (2.0, 2.0)


def test_other_suites_tell_nothing_of_their_calls():
    suite = measure.Suite("gradients", (), lambda result: [], {}, str)
    assert suite.of_calls(object(), 3) == {}


def test_plans():
    sizes = [sizes for _, sizes in command.FULL.networks]
    assert [len(s) - 1 for s in sizes] == [5, 15, 30, 60] and {s[-1] for s in sizes} == {10}
    assert {n for s in sizes for n in s[:-1]} == {64} and set(command.QUICK.networks) < set(command.FULL.networks)


def test_report_draws_from_the_file_alone(tmp_path, capsys):
    rows = [
        cell(layers=15, ratio=9.0),
        cell("run", layers=15, error="was wrong"),
        cell(layers=5),
        cell("run", layers=5, ratio=1.2, control=1.3),
        cell(layers=15, ratio=0.8),
        cell(batch_size=8, error="was wrong"),
        cell("run", batch_size=8, ratio=0.5),
    ]
    path = write(tmp_path / "r.jsonl", *rows)
    assert main(["report", str(path)]) == 0
    page = path.with_suffix(".md").read_text(encoding="utf-8")
    lines = [[c.strip() for c in line.split("|")[1:-1]] for line in page.splitlines() if "x64 " in line and "|" in line]
    main_table = {(line[0], line[2]): line[3:] for line in lines if len(line) == 11}
    assert list(main_table) == [("5x64", "4"), ("5x64", "8"), ("15x64", "4")]  # by depth
    assert main_table["15x64", "4"][2:4] == ["0.80 [0.80, 0.80]", "manual faster"]  # measured twice: the later counts
    assert main_table["15x64", "4"][6:] == ["not timed", ""]
    assert main_table["5x64", "4"][3:] == [
        *("no difference", "0.50 [0.50, 0.50]", "1.01 [1.01, 1.01]", "1.20 [1.20, 1.20]", "1.30 [1.30, 1.30] *")
    ]
    assert main_table["5x64", "8"] == ["", "", "", "not timed", "", "", "0.50 [0.50, 0.50]", "1.01 [1.01, 1.01]"]
    apart = {(line[0], line[2]): line[3:] for line in lines if len(line) == 6}
    lower, compile, _ = apart["15x64", "4"]
    assert (lower.split(" / ")[0], compile.split(" / ")[0]) == ("300 ms", "900 ms")
    for words in (
        "4 of 6 cells timed",
        "Manual is lowered and compiled faster in 1, no different in 1, slower in 0.",
        "Manual runs faster in 1, no different in 0, slower in 1: run, 5x64 at 4 (1.20 [1.20, 1.20]).",
        "The control fails in 1 of 4 cells: run, 5x64 at 4 (1.30 [1.30, 1.30]).",
    ):
        assert words in page
    svg = path.with_suffix(".svg")
    drawn = svg.read_bytes()
    assert drawn.count(b'<g id="axes_') == 8  # four for each batch size
    assert main(["report", str(path)]) == 0
    assert svg.read_bytes() == drawn


def test_nothing_timed_is_said(tmp_path, capsys):
    path = write(tmp_path / "r.jsonl", cell(error="was wrong"))
    assert main(["report", str(path)]) == 0
    assert "0 of 1 cells timed" in capsys.readouterr().out and not path.with_suffix(".svg").exists()
