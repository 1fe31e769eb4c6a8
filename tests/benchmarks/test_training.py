import functools
import sys

import jax
import numpy as np
import optax
import pytest
from benchmark_runs import PEERS, lines_of, made_row, refused, reported, timed, write

from benchmarks import options, plans, records, rows, text
from benchmarks.__main__ import main
from benchmarks.display import markdown
from benchmarks.training import accuracy, command, ensemble, in_jax, programs, table, task

ALWAYS = {"manual", "optax_scan", "control"}
LOOPS = {"manual_loop", "optax_loop"}


STEPS = programs.steps


@functools.cache
def baseline(name, sizes, batch_size):
    """A program that no test changes, compiled once for all."""
    return STEPS(sizes, batch_size, [name])[name]


@pytest.fixture
def run(monkeypatch):
    """A function that runs a part of the suite with few programs on a tiny network."""

    def steps(sizes, batch_size, names):
        made = STEPS(sizes, batch_size, [name for name in names if name not in ("optax_scan", "control")])
        return made | {name: baseline(name, sizes, batch_size) for name in ("optax_scan", "control")}

    monkeypatch.setattr(programs, "steps", steps)

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
    assert out == f"{markdown(table.page([row]))}\n\n{path}\n"
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


def test_what_cannot_be_imported_is_left_out_with_a_line(tmp_path, run, monkeypatch, capsys):
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
    assert names == [name for name in programs.TRAINERS if name not in ("torch_compile", *table.ON_GPU)]
    assert cells == [
        ("step", "784-128-10", 32, 1),
        ("step", "784-128-10", 128, 1),
        ("accuracy", "64-128-10", 32, 1),
        ("ensemble", "64-32-10", 32, 32),
    ]
    names, cells = made("--full", "--repeats", "6")
    assert names == [n for n in programs.TRAINERS if n not in table.ON_GPU] and len(cells) == 12 + 1 + 3
    assert made("--programs", "torch_graph")[0] == ["manual", "optax_scan", "control", "torch_graph"]
    _, cells = made("--full", "--only", "ensemble")
    assert [members for *_, members in cells] == [8, 32, 128]


def test_requests_that_cannot_be_met(capsys):
    assert "invalid choice: 'steps'" in refused(capsys, "training", "--only", "steps")
    assert "unrecognized arguments: --dtype" in refused(capsys, "training", "--dtype", "float64")


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
    assert str(table.accuracies([row])) in capsys.readouterr().out
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
    assert "1/1  ensemble of 3, 64-32-10 at 32: manual " in err and str(table.ensembles([row])) in out
    with jax.enable_x64(False):
        first, *_, last = (task.digits(ensemble.SIZES, ensemble.BATCH_SIZE, seed).state for seed in range(3))
    assert not np.array_equal(first.params[0].W, last.params[0].W)


def test_report_draws_from_the_file_alone(tmp_path, capsys):
    faster = {"optax_scan": 0.9, "torch_eager": 4.0, "sklearn": 2.0}
    found = [
        cell(others=faster | {"torch_eager": 9.0}),
        cell(others=faster),
        cell(batch_size=128, others={"optax_scan": 1.0, "torch_eager": 1.0, "sklearn": 8.0}),
        cell(network="5x64", others={"torch_eager": 100.0}, others_cpu=0.4),
        cell(network="5x64", batch_size=128, error="was wrong"),
        cell("accuracy", "64-128-10", others={"sklearn": 12.0}, others_cpu=None),
        cell("ensemble", "64-32-10", others={"one_by_one": 1.5}, members=32),
        cell("ensemble", "64-32-10", others={"one_by_one": 1.7}, members=8),
    ]
    path = write(tmp_path / "r.jsonl", *found)
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
        "- A step of optax_scan takes 0.95 times as long as manual's in the geometric mean of 2 cells: manual is "
        "faster in 0, no different in 1, too noisy to tell in 1, slower in 1: step, 784-128-10 at 32 (0.90 [",
        "- A step of torch_eager takes 2.00 times as long as manual's in the geometric mean of 2 cells: manual is "
        "faster in 1, no different in 1, too noisy to tell in 1, slower in 0.",
        "- A step of sklearn takes 4.00 times",
        "- The control fails in 0 of 6 cells.",
        "took more than 5% of the cores' time in 1 cells.",
        "- Against the baseline 5 of 6 cells could be told apart from noise.",
    ):
        assert words in page, words
    assert len(command.SUITE.draw(rows.timed(found)).axes) == 4


@pytest.mark.parametrize(
    "found",
    [[cell("ensemble", members=8, others={"one_by_one": 2.0})], [cell("accuracy")]],
    ids=["ensemble", "accuracy"],
)
def test_a_part_alone_is_drawn(found, tmp_path, capsys):
    path = write(tmp_path / "r.jsonl", *found)
    assert main(["report", str(path)]) == 0
    assert "times as long as manual's" not in capsys.readouterr().out
    assert len(command.SUITE.draw(found).axes) == 1


def test_a_cell_is_noisy_by_its_control_or_by_other_processes():
    assert all(rows.is_told(row, table.ratio(row)) for row in (cell(), cell(others_cpu=None), cell(others_cpu=0.05)))
    assert "times as long: optax_scan 1.00" in table.line(cell())
    busy, shaken = cell(others_cpu=0.06), cell(others={"optax_scan": 1.3})
    shaken["programs"]["control"]["times_s"] = [1.2 * t for t in shaken["programs"]["optax_scan"]["times_s"]]
    assert "1.20 [1.20, 1.20] *" in str(table.steps([shaken]))
    for row, figure in ((busy, "1.00 [1.00, 1.00] *"), (shaken, "1.30 [1.30, 1.30] *")):
        assert not rows.is_told(row, table.ratio(row))
        (line,) = lines_of(str(table.steps([row])), 12)[1:]
        assert line[3] == figure
        assert "too noisy to tell: optax_scan 1." in table.line(row) and "times as long" not in table.line(row)
        assert "- A step of optax_scan: all 1 cells are too noisy to tell." in table.summary([row])
    mean = "optax_scan takes 1.00 times as long as manual's in the geometric mean of 1 cells: manual is faster in 0, "
    both = table.summary([cell(batch_size=128), shaken])
    assert mean + "no different in 1, too noisy to tell in 1, slower in 0." in both
    assert "- Against the baseline 1 of 2 cells could be told apart from noise.\n" in f"{both}\n"
    assert text.TOO_BUSY in table.summary([busy, shaken])
