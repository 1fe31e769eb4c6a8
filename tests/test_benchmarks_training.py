import itertools
import os
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from benchmark_runs import lines_of, made_row, refused, reported, timed, write

import manual_bp as bp
from benchmarks import environment, measure, options, plans, records, rows, timing
from benchmarks.__main__ import main
from benchmarks.program import Compiled
from benchmarks.training import accuracy, command, ensemble, in_jax, programs, table, task, trainer

ALWAYS = {"manual", "optax_scan", "control"}
LOOPS = {"manual_loop", "optax_loop"}
PEERS = {"nnx": "flax", "torch_eager": "torch", "torch_compile": "torch", "sklearn": "sklearn"}


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    """Measure no matrix product."""
    monkeypatch.setattr(environment, "matmul_flops", lambda dtype: 1e11)


@pytest.fixture
def x32():
    """Turn 64-bit types off, as a run does."""
    with jax.enable_x64(False):
        yield


@pytest.fixture
def run(monkeypatch):
    """A function that runs a part of the suite with few programs on a tiny network."""

    def run(path, part, *names):
        monkeypatch.setattr(command, "program_names", lambda args: [*ALWAYS, *names])
        tiny = "training --networks 12-8-3 --batch-sizes 5 --repeats 6".split()
        return main([*tiny, "--only", part, "--out", str(path)])

    return run


def cell(part="step", network="784-128-10", batch_size=32, others=None, members=1, error=None, **changes):
    """A row as a run writes it, the other programs taking so many times as long as manual."""
    reference = rows.references({"suite": "training", "part": part}).baseline
    scale = {"manual": 1.0, reference: 1.0, "control": 1.01} | (others or {})
    scale["control"] *= scale[reference]
    measured = {"first_s": 0.5} | ({"epochs": 13, "accuracy": 0.972} if part == "accuracy" else {})
    made = timed(scale, batch_size, 1e-3 * batch_size, measured) | {"nnx": {"not_run": "flax cannot be imported"}}
    fields = {"part": part, "network": network, "sizes": [784, 128, 10], "batch_size": batch_size, "members": members}
    fields |= {"steps": 64, "errors": {"manual": {"cost": 1e-7}}, "others_cpu": 0.01}
    return made_row("training", made, error, **fields | changes)


def test_a_run_agrees_and_its_rows_are_whole(tmp_path, run, capsys):
    path = tmp_path / "r.jsonl"
    assert run(path, "step", *LOOPS) == 0
    (row,), notes = records.read(path)
    assert notes == [] and tuple(row) == records.FIELDS["training"]
    told = [row[key] for key in ("part", "network", "sizes", "batch_size", "steps", "members", "error")]
    assert told == ["step", "12-8-3", [12, 8, 3], 5, 64, 1, None]
    assert row["others_cpu"] is None or 0 <= row["others_cpu"] <= 1
    assert row["programs"].keys() == set(programs.TRAINERS)
    for name, program in row["programs"].items():
        if name in ALWAYS | LOOPS:
            assert len(program["times_s"]) == 6 and all(0 < t < 10 for t in program["times_s"])
            assert program["first_s"] > max(program["times_s"]) / 10
        else:
            assert program == {"not_run": "left out"}
    assert row["errors"].keys() == (ALWAYS | LOOPS) - {"optax_scan"}
    for errors in row["errors"].values():
        assert errors.keys() == {"cost", "W[1]", "b[1]", "W[2]", "b[2]"}
        assert errors.pop("cost") < 1e-6 and max(errors.values()) < 1e-5
    out, err = capsys.readouterr()
    assert out == f"{table.page([row])}\n\n{path}\n"
    assert err.splitlines() == [f"1/1  step, 12-8-3 at 5: {table.line(row)}"]


@pytest.mark.parametrize(
    "mistake, label", [("rate", "cost"), ("order", "cost"), ("late", "W[1]")], ids=["rate", "order", "late"]
)
def test_a_wrong_program_is_found_and_not_timed(tmp_path, run, monkeypatch, capsys, mistake, label):
    """A learning rate 1 % too large, examples in another order, and steps that stop after the costs compared."""
    right = in_jax.manual

    def wrong(given):
        if mistake == "order":
            given = given._replace(data=task.TrainingData(given.data.X[::-1], given.data.Y[::-1]))
        with monkeypatch.context() as patch:
            if mistake == "rate":
                patch.setattr(in_jax, "ADAM", optax.adam(1.01 * task.LEARNING_RATE))
            trains = right(given)
        if mistake == "late":
            return trains._replace(epoch=lambda state, e: (state, trains.epoch(state, e)[1]))
        return trains

    monkeypatch.setattr(in_jax, "manual", wrong)
    path = tmp_path / "r.jsonl"
    assert run(path, "step", "optax_loop") == 1
    (row,), _ = records.read(path)
    assert row["programs"] == {} and row["error"].startswith(f"manual differs from optax_scan: {label} by ")
    assert row["errors"]["control"] == dict.fromkeys(row["errors"]["control"], 0.0)
    out, err = capsys.readouterr()
    assert row["error"] in err and f"Not timed: step, 12-8-3 at 5: {row['error']}." in out and " not timed |" in out


def test_what_cannot_be_imported_is_left_out_with_a_line(tmp_path, monkeypatch, capsys):
    for package in ("flax", "torch", "sklearn"):
        monkeypatch.setitem(sys.modules, package, None)
    path = tmp_path / "r.jsonl"
    tiny = ["training", *"--networks 12-8-3 --batch-sizes 5 --repeats 6 --out".split(), str(path)]
    assert main(tiny) == 0
    (row,), _ = records.read(path)
    for name in ("nnx", "torch_eager", "sklearn"):
        reason = f"{PEERS[name]} cannot be imported: pip install 'manual_bp[peers]'"
        assert row["programs"][name] == {"not_run": reason}
    assert row["programs"]["torch_compile"] == {"not_run": "left out"}  # --quick
    out, err = capsys.readouterr()
    assert err.splitlines()[:2] == [
        "not installed, and not timed: flax, torch, sklearn; pip install 'manual_bp[peers]'",
        "only the part step is measured, for lack of scikit-learn's digits: pip install 'manual_bp[peers]'",
    ]
    assert "- Not run: nnx: flax cannot be imported: pip install 'manual_bp[peers]'." in out
    assert main([*tiny, "--only", "ensemble"]) == 0
    assert capsys.readouterr().out == "" and len(records.read(path)[0]) == 1


def test_what_is_measured(monkeypatch):
    def made(*argv):
        monkeypatch.setattr(command, "run", lambda args: given.append(args) or 0)
        given = []
        assert main(["training", *argv]) == 0
        (args,) = given
        names, plan = command.program_names(args), options.chosen_plan(args, plans.TRAINING)
        parts = [cell for part in args.only for cell in command.cells_of(part, args, plan, names)]
        return names, [
            tuple(cell.fields[key] for key in ("part", "network", "batch_size", "members")) for cell in parts
        ]

    names, cells = made()
    assert names == [name for name in programs.TRAINERS if name != "torch_compile"]
    assert cells == [
        ("step", "784-128-10", 32, 1),
        ("step", "784-128-10", 128, 1),
        ("accuracy", "64-128-10", 32, 1),
        ("ensemble", "64-32-10", 32, 32),
    ]
    names, cells = made("--full", "--repeats", "6")
    assert names == list(programs.TRAINERS) and len(cells) == 12 + 1 + 3
    _, cells = made("--full", "--only", "ensemble")
    assert [members for *_, members in cells] == [8, 32, 128]


def test_requests_that_cannot_be_met(capsys):
    assert "invalid choice: 'steps'" in refused(capsys, "training", "--only", "steps")
    assert "unrecognized arguments: --dtype" in refused(capsys, "training", "--dtype", "float64")


def test_a_call_starts_from_the_same_state_and_ends_with_an_epoch(x32):
    given = task.synthetic((12, 8, 3), 5)
    assert given.steps == task.steps_of_a_call(5) == 64 and task.steps_of_a_call(2048) == 4
    assert sorted(given.rows(0).ravel()) == list(range(320)) and given.rows(0).shape == (64, 5)
    made = trainer.Training(in_jax.manual(given))
    ends = []
    for _ in range(2):
        made.ready()
        ends.append(made()[0])
    a, b = ends
    assert int(a.step) == 64 and all(map(np.array_equal, jax.tree.leaves(a.params), jax.tree.leaves(b.params)))
    # the second epoch is in the order that the state after the first gives
    rows = jax.jit(given.drawn_rows)(a)
    assert np.array_equal(rows, given.rows(1)) and not np.array_equal(given.rows(0), given.rows(1))


def test_a_program_that_cannot_run_here():
    def fails(state, e):
        raise RuntimeError("no compiler\nin many words")

    trains = trainer.Trainer(
        lambda: None, fails, lambda state, costs: (costs, ()), library="a 1", may_fail=(RuntimeError,)
    )
    assert trainer.Training(trains).preparation == {"library": "a 1", "not_run": "RuntimeError: no compiler"}
    with pytest.raises(RuntimeError, match="no compiler"):
        _ = trainer.Training(trains._replace(may_fail=())).preparation
    made = {"manual": trainer.Training(trains), "optax_scan": "left out", "control": "left out"}
    found = measure.measure_cell(
        command.SUITE, measure.Cell({}, lambda: made), "float32", plans.TRAINING["quick"], lambda fraction: None
    )
    assert found["error"] == "control not run: left out" and found["programs"] == {} and found["others_cpu"] is None


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:No CUDA runtime is found")
def test_peers_do_what_optax_does(name, x32):
    """Costs, changes, and the same again in a second epoch, which is in another order."""
    pytest.importorskip(PEERS[name], exc_type=ImportError)
    given = task.synthetic((12, 8, 3), 5)
    made = programs.steps((12, 8, 3), 5, [name])[name]
    assert isinstance(made, trainer.Training)
    made.exact = None  # the float32 that is timed
    if "not_run" in made.preparation:
        pytest.skip(made.preparation["not_run"])
    assert made.preparation["library"].split()[0] in ("flax", "torch", "scikit-learn")
    right = in_jax.optax_scan(given)
    state, costs = right.epoch(right.start(), 0)
    agree(made.result(), right.read(state, costs))
    agree(made.result(), right.read(state, costs))  # from the start again
    found, _ = made.trainer.epoch(made.trainer.start(), 0)
    found, costs_found = made.trainer.epoch(found, 1)
    _, change = made.trainer.read(found, costs_found)
    agree((costs, change), (costs, right.read(*right.epoch(state, 1))[1]))


def agree(found, right):
    """Compare costs and changes; rounding of so few small numbers is all that differs."""
    assert jax.tree.structure(found) == jax.tree.structure(right)
    bounds = [2e-6] + [5e-5] * (len(jax.tree.leaves(right)) - 1)
    for a, b, bound in zip(jax.tree.leaves(found), jax.tree.leaves(right), bounds, strict=True):
        assert a.shape == b.shape and np.linalg.norm(a - b) <= bound * np.linalg.norm(b)


def test_the_changes_are_compared_in_float64(x32):
    """Two programs that are both right agree there; in float32 a unit at its kink can keep them apart."""
    made = programs.steps((64, 64, 64, 10), 32, ["manual", "optax_scan"])
    assert isinstance(made["manual"], trainer.Training) and isinstance(made["optax_scan"], trainer.Training)
    (costs, found), (_, right) = made["manual"].result(), made["optax_scan"].result()
    assert costs.dtype == np.float32
    for a, b in zip(map(np.asarray, jax.tree.leaves(found)), map(np.asarray, jax.tree.leaves(right)), strict=True):
        assert a.dtype == np.float64 and np.linalg.norm(a - b) <= 1e-12 * np.linalg.norm(b) != 0


def test_where_eps_stands_is_all_that_sets_scikit_learn_apart(x32, monkeypatch):
    pytest.importorskip("sklearn")

    def update(updates, state, params=None, **rest):
        adam, after = state
        t = adam.count + 1
        mu = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, adam.mu, updates)
        nu = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, adam.nu, updates)
        rate = task.LEARNING_RATE * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        updates = jax.tree.map(lambda m, v: -rate * m / (jnp.sqrt(v) + 1e-8), mu, nu)
        return updates, (adam._replace(count=t, mu=mu, nu=nu), after)

    given = task.synthetic((64, 64, 64, 10), 32)
    made = programs.steps((64, 64, 64, 10), 32, ["sklearn"])["sklearn"]
    assert isinstance(made, trainer.Training)
    made.exact = None
    found = made.result()[1]
    apart = {}
    as_sklearn = optax.GradientTransformation(task.ADAM.init, update)
    for name, adam in {"optax": task.ADAM, "scikit-learn": as_sklearn}.items():
        monkeypatch.setattr(in_jax, "ADAM", adam)
        right = trainer.Training(in_jax.optax_scan(given)).result()[1]
        leaves = zip(jax.tree.leaves(found), jax.tree.leaves(right), strict=True)
        apart[name] = max(np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in leaves)
    assert apart["optax"] > 3e-3 and apart["scikit-learn"] < 2e-5


def test_training_to_an_accuracy(tmp_path, run, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    monkeypatch.setattr(accuracy, "GOAL", 0.8)
    path = tmp_path / "r.jsonl"
    assert run(path, "accuracy", "sklearn") == 0
    (row,), _ = records.read(path)
    assert [row[key] for key in ("network", "batch_size", "steps")] == ["64-128-10", 32, 45]
    timed = {name: found for name, found in row["programs"].items() if "times_s" in found}
    assert timed.keys() == ALWAYS | {"sklearn"} and row["programs"].keys() - timed.keys() == {"torch_eager"}
    for found in timed.values():
        assert found["epochs"] == timed["manual"]["epochs"] > 1 and found["accuracy"] >= 0.8
    assert table.accuracies([row]) in capsys.readouterr().out
    monkeypatch.setattr(accuracy, "MOST_EPOCHS", 1)
    assert run(path, "accuracy", "nnx") == 1
    assert records.read(path)[0][-1]["error"] == "control not run: 80% of the held-out digits not reached in 1 epochs"
    assert "not timed" not in capsys.readouterr().out


def test_an_ensemble_is_its_networks_one_by_one(tmp_path, run, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    monkeypatch.setitem(command.MEMBERS, "quick", (3,))
    path = tmp_path / "r.jsonl"
    assert run(path, "ensemble") == 0
    (row,), _ = records.read(path)
    assert [row[key] for key in ("network", "batch_size", "steps", "members")] == ["64-32-10", 32, 45, 3]
    assert row["programs"].keys() == {"manual", "one_by_one", "control"}
    errors = row["errors"]["manual"]
    assert errors.pop("cost") < 1e-6 and max(errors.values()) < 1e-3
    assert row["errors"]["control"] == dict.fromkeys(row["errors"]["control"], 0.0)
    out, err = capsys.readouterr()
    assert "1/1  ensemble of 3, 64-32-10 at 32: manual " in err and table.ensembles([row]) in out
    with jax.enable_x64(False):
        first, *_, last = (task.digits(ensemble.SIZES, ensemble.BATCH_SIZE, seed).state for seed in range(3))
    assert not np.array_equal(first.params[0].W, last.params[0].W)


def test_report_draws_from_the_file_alone(tmp_path, capsys):
    faster = {"optax_scan": 0.9, "torch_eager": 4.0, "sklearn": 2.0}
    rows = [
        cell(others=faster | {"torch_eager": 9.0}),
        cell(others=faster),
        cell(batch_size=128, others={"optax_scan": 1.0, "torch_eager": 1.0, "sklearn": 8.0}),
        cell(network="5x64", others={"torch_eager": 100.0}, others_cpu=0.4),
        cell(network="5x64", batch_size=128, error="was wrong"),
        cell("accuracy", "64-128-10", others={"sklearn": 12.0}, others_cpu=None),
        cell("ensemble", "64-32-10", others={"one_by_one": 1.5}, members=32),
        cell("ensemble", "64-32-10", others={"one_by_one": 1.7}, members=8),
    ]
    path = write(tmp_path / "r.jsonl", *rows)
    page = reported(capsys, path)
    steps = {tuple(line[:2]): line[2:] for line in lines_of(page, 12)}
    first = steps["784-128-10", "32"]  # measured twice: the later counts
    assert first[:2] == ["500 µs", "0.90 [0.90, 0.90]"] and first[5] == "4.00 [4.00, 4.00]"
    assert first[2] == first[4] == first[6] == "not run" and first[8:] == ["1.01 [1.01, 1.01]", "1%"]
    assert steps["784-128-10", "128"][1] == "no difference [1.00, 1.00]"
    assert steps["5x64", "32"][-1] == "40% *" and steps["5x64", "128"] == ["not timed", *[""] * 9]
    trainings = {line[2]: line[3:] for line in lines_of(page, 10)}
    assert trainings["manual"][:5] == ["32.0 ms", "", "13", "97.20%", "500 ms"]
    assert trainings["sklearn"][1] == "12.0 [12.0, 12.0]" and trainings["sklearn"][-1] == "?"
    ensembles = {line[2]: line[3:] for line in lines_of(page, 8)}
    assert ensembles["8"][2] == "1.70 [1.70, 1.70]" and ensembles["32"][2] == "1.50 [1.50, 1.50]"
    for words in (
        "6 of 7 cells timed on a device",
        "Not timed: step, 5x64 at 128: was wrong.",
        "- Not run: nnx: flax cannot be imported.",
        "- A step of optax_scan takes 0.95 times as long as manual's in the geometric mean: manual is faster in 0, "
        "no different in 1, slower in 1: step, 784-128-10 at 32 (0.90 [0.90, 0.90]).",
        "- A step of torch_eager takes 2.00 times as long as manual's in the geometric mean: manual is faster in 1, "
        "no different in 1, slower in 0.",
        "- A step of sklearn takes 4.00 times",
        "- The control fails in 0 of 6 cells.",
        "took more than 5% of the cores' time in 1 cells; these are left out of the means and counts above.",
    ):
        assert words in page, words
    assert len(command.SUITE.draw([row for row in rows if not row["error"]]).axes) == 4


@pytest.mark.parametrize(
    "rows",
    [[cell("ensemble", members=8, others={"one_by_one": 2.0})], [cell("accuracy")]],
    ids=["ensemble", "accuracy"],
)
def test_a_part_alone_is_drawn(rows, tmp_path, capsys):
    path = write(tmp_path / "r.jsonl", *rows)
    assert main(["report", str(path)]) == 0
    assert "times as long as manual's" not in capsys.readouterr().out
    assert len(command.SUITE.draw(rows).axes) == 1


def test_a_cell_is_noisy_by_its_control_or_by_other_processes():
    assert not table.too_noisy(cell()) and not table.too_noisy(cell(others_cpu=None))
    assert table.too_noisy(cell(others_cpu=0.06))
    shaken = cell()
    shaken["programs"]["control"]["times_s"] = [1.2 * t for t in shaken["programs"]["optax_scan"]["times_s"]]
    assert table.too_noisy(shaken) and "1.20 [1.20, 1.20] *" in table.steps([shaken])


def test_what_comes_before_and_after_a_call_is_not_timed(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(timing, "time", types.SimpleNamespace(perf_counter=lambda: float(next(clock))))
    seen = []

    class Noted(Compiled):
        def ready(self):
            seen.append("ready")
            next(clock)

        def rest(self):
            seen.append("rest")
            next(clock)

    programs = {name: Noted(lambda name: (seen.append(name), next(clock)), (name,)) for name in "ab"}
    assert timing.take_turns(programs, 1.0, 3, 3) == {"a": [2.0] * 3, "b": [2.0] * 3}
    assert all(seen[i] == "ready" and seen[i + 2] == "rest" for i in range(0, len(seen), 3))


def test_the_share_of_other_processes():
    start = environment.Clock(wall=10.0, busy=100.0, own=5.0)
    cores = os.cpu_count() or 1
    assert environment.share_of_others(start, environment.Clock(20.0, 100.0 + 7 * cores, 5.0 + 4 * cores)) == 0.3
    assert environment.share_of_others(start, environment.Clock(20.0, 101.0, 7.0)) == 0.0  # counted in ticks
    assert environment.share_of_others(None, start) is None


def test_members_and_parts_are_in_the_name():
    named = {"network": "5x64", "batch_size": 2048}
    assert rows.name(named | {"part": "step", "members": 1}) == "step, 5x64 at 2,048"
    assert rows.name(named | {"part": "ensemble", "members": 8}) == "ensemble of 8, 5x64 at 2,048"


def test_a_state_of_the_library_is_not_used_up(x32):
    """The baseline donates what it is given: it is a copy."""
    given = task.synthetic((12, 8, 3), 5)
    for build in (in_jax.optax_scan, in_jax.optax_loop):
        jax.block_until_ready(build(given).epoch(build(given).start(), 0))
    assert bp.predict(given.network, given.state.params, given.data.X.T).shape == (3, 320)
