"""`python -m manual_bp train --out`: saved, interrupted, resumed."""

import errno
import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import command_runs
import jax
import numpy as np
import pytest
from command_runs import refusal, run

import manual_bp as bp
from manual_bp import __main__ as command
from manual_bp._command import fitting, model


@pytest.fixture(autouse=True)
def x64():
    """The command runs as JAX starts: in float32, but for its check."""
    with jax.enable_x64(False):
        yield


@pytest.fixture
def argv(tmp_path) -> tuple[str, ...]:
    """A training that takes no time and has all that is carried from epoch to epoch."""
    return ("train", "--data", command_runs.blobs(tmp_path), "--hidden", "6", "--dropout", "0.2", "--patience", "50")


@pytest.fixture
def out(tmp_path) -> str:
    return str(tmp_path / "model")


def sha256(out: str) -> str:
    """Of the weights."""
    return json.loads(Path(out, "model.json").read_text())["sha256"]


def checkpoints(out: str) -> list[int]:
    return sorted(int(path.name) for path in Path(out, "checkpoints").iterdir() if path.name.isdecimal())


def epochs_of(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("  epoch ")]


def test_the_same_seed_saves_the_same_bits_and_another_seed_others(capsys, argv, out):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        text = run(capsys, *argv, "--epochs", "3", "--seed", seed, "--out", out + name)
        assert text.splitlines()[-1] == f"model saved in {out}{name}"
    a, b, c = (Path(out + name, "model.json").read_text() for name in "abc")
    assert a == b != c
    assert sha256(out + "a") != sha256(out + "c")


def test_what_is_resumed_ends_as_what_was_not_interrupted(capsys, argv, out):
    whole = run(capsys, *argv, "--epochs", "6", "--out", out + "whole", "--plot", out + "whole.png")
    run(capsys, *argv, "--epochs", "3", "--out", out)
    assert sha256(out) != sha256(out + "whole")
    resumed = run(capsys, *argv, "--epochs", "6", "--out", out, "--resume", "--plot", out + ".png").splitlines()
    assert "resuming after epoch 3" in resumed
    assert epochs_of(resumed) == epochs_of(whole.splitlines())[3:]
    assert sha256(out) == sha256(out + "whole")
    # The curves are of all six epochs
    assert Path(out + ".png").read_bytes() == Path(out + "whole.png").read_bytes()
    # Nothing is left to do
    again = run(capsys, *argv, "--epochs", "6", "--out", out, "--resume")
    assert "resuming after epoch 6" in again and "  epoch" not in again
    assert sha256(out) == sha256(out + "whole")


def test_a_killed_training_is_resumed(capsys, argv, out):
    argv = (*argv, "--epochs", "300", "--out", out)
    with subprocess.Popen([sys.executable, "-m", "manual_bp", *argv], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert any(line.startswith("  epoch  60") for line in process.stdout)
        process.kill()
        assert process.wait(timeout=60) == -signal.SIGKILL
    assert 30 <= max(checkpoints(out)) < 300
    for other in ("predict", "evaluate"):
        assert refusal(capsys, other, out, "--data", argv[2]) == (
            f"{out}: the training has not ended; go on with it first: python -m manual_bp train --out {out} --resume, "
            "and the options it was started with"
        )
    assert "resuming after epoch " in run(capsys, *argv, "--resume")
    run(capsys, "predict", out, "--data", argv[2])
    run(capsys, *argv[:-1], out + "whole")
    assert sha256(out) == sha256(out + "whole")


@pytest.fixture
def in_the_foreground():
    """Ctrl-C arrives, as it does not in a job that a script runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("in_the_foreground")
@pytest.mark.parametrize(
    ("epoch", "presses", "where"),
    [(1, 2, "before the first checkpoint"), (3, 2, "the last checkpoint in {} is of epoch 2"), (3, 1, "of epoch 3")],
)
def test_control_c_says_how_to_go_on(capfd, monkeypatch, argv, out, epoch, presses, where):
    def press(line: str) -> None:
        for _ in range(presses if line.startswith(f"  epoch {epoch} ") else 0):
            os.kill(os.getpid(), signal.SIGINT)

    argv = (*argv, "--epochs", "5", "--out", out)
    with monkeypatch.context() as patched:
        patched.setattr(fitting, "say", press)
        assert command.main(argv) == 130
    waits, err = capfd.readouterr().err.splitlines()
    assert waits == "manual_bp: stopping after this epoch, at once if Ctrl-C is pressed again"
    assert err.startswith("manual_bp: interrupted: ")
    assert err.endswith(f"{where.format(out)}; to go on: python -m manual_bp {shlex.join(argv)} --resume")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    again = run(capfd, *shlex.split(err.rpartition(" manual_bp ")[2]))
    assert ("resuming after epoch " in again) == (where != "before the first checkpoint")
    assert checkpoints(out) == [4, 5]


def test_the_last_finite_model_is_saved(capsys, argv, out):
    message = refusal(capsys, *argv, "--learning-rate", "1e30", "--out", out, status=1)
    assert message.startswith("seed 0: the cost of step ")
    assert message.endswith(f"is not finite: try a lower --learning-rate; the last finite model is saved in {out}")
    assert all(np.isfinite(p).all() for p in jax.tree.leaves(model.load(out).params))
    assert run(capsys, "predict", out, "--data", argv[2]).startswith("class\n")


def test_there_may_be_nothing_to_resume_yet(capsys, argv, out):
    text = run(capsys, *argv, "--epochs", "2", "--out", out, "--resume")
    assert f"nothing to resume in {out}: training starts anew" in text


def test_a_model_is_not_trained_over(capsys, argv, out):
    run(capsys, *argv, "--epochs", "2", "--out", out)
    before = sha256(out)
    message = f"{out} is not empty: give another --out, or --resume to go on with a training that is there"
    assert refusal(capsys, *argv, "--epochs", "3", "--out", out) == message
    assert sha256(out) == before


def test_resuming_needs_the_training_that_was_interrupted(capsys, argv, out, tmp_path):
    run(capsys, *argv, "--epochs", "2", "--out", out)
    resume = ("--epochs", "3", "--out", out, "--resume")
    message = f"{out} has a network 4-6-3, and this is 4-9-3: give the same --hidden, or another --out"
    assert refusal(capsys, *argv, *resume, "--hidden", "9") == message
    np.savez(tmp_path / "other.npz", X=np.load(argv[2])["X"], y=np.arange(45)[::-1] % 3)
    for options, what in (
        ((*argv, "--seed", "1"), "the same --seed"),
        ((*argv, "--data", str(tmp_path / "other.npz")), "the same --data and --target"),
        (argv[:-2], "--patience, or not, as before"),
    ):
        message = f"{out} was trained with other options: give {what}, or another --out"
        assert refusal(capsys, *options, *resume) == message
    text = run(capsys, *argv, *resume, "--learning-rate", "0.002")
    assert "note: --learning-rate is 0.002 from here on; it was 0.001 before" in text


def test_a_directory_that_cannot_be_used_is_refused_in_one_line(capsys, argv, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    for name, message in (
        ("file", "file can't be written: .*file is a file; expected a new directory or a saved model: .*"),
        ("file/model", "file/model can't be written: not a directory"),
        ("full", "full is not empty: give another --out, or --resume to go on with a training that is there"),
    ):
        found = refusal(capsys, *argv, "--out", str(tmp_path / name))
        assert re.fullmatch(f"{tmp_path}/{message}", found), found
    found = refusal(capsys, *argv, "--out", str(tmp_path / "full"), "--resume")
    assert found.startswith(f"{tmp_path}/full is not a saved model")
    assert os.listdir(tmp_path / "full") == ["thesis.txt"]


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 1), (errno.EACCES, 2), (errno.EROFS, 2)])
def test_a_model_that_cannot_be_written_is_reported(capsys, monkeypatch, argv, out, number, status):
    def fail(*args) -> None:
        raise OSError(number, os.strerror(number), "model.json")

    monkeypatch.setattr(bp, "save", fail)
    message = f"{out} can't be written: {os.strerror(number).lower()}"
    assert refusal(capsys, *argv, "--out", out, status=status) == message


def test_a_checkpoint_that_cannot_be_written_is_reported(capsys, argv, out):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The model is smaller than that
    resource.setrlimit(resource.RLIMIT_FSIZE, (2500, limits[1]))
    try:
        message = refusal(capsys, *argv, "--epochs", "2", "--out", out, status=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert message.startswith(f"{out}/checkpoints/1 could not be written (File too large); ")
    run(capsys, *argv, "--epochs", "2", "--out", out, "--resume")
    assert checkpoints(out) == [1, 2]


def test_damage_is_reported(capsys, argv, out):
    run(capsys, *argv, "--epochs", "2", "--out", out)
    about = Path(out, "checkpoints", "2", "checkpoint.json")
    about.write_text(about.read_text()[:-9])
    resume = (*argv, "--epochs", "3", "--out", out, "--resume")
    assert refusal(capsys, *resume).startswith(f"{out}/checkpoints/2 is damaged: ")
    Path(out, "model.json").write_text("{")
    for again in (resume, ("predict", out, "--data", argv[2]), ("evaluate", out, "--data", argv[2])):
        assert f"{out}/model.json is damaged: " in refusal(capsys, *again)


def test_without_orbax_there_are_no_checkpoints(capsys, monkeypatch, argv, out):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    message = "--out: checkpoints need orbax-checkpoint: pip install 'manual_bp[train]'"
    assert refusal(capsys, *argv, "--out", out) == message
    assert not Path(out).exists()


def test_a_network_saved_by_hand_is_no_model_of_the_command(capsys, argv, out):
    network = bp.Network((4, 3))
    for extra in ({}, {"classes": ["a", "b"], "inputs": None}):
        bp.save(out, network, bp.init(network, jax.random.key(0)), extra)
        message = refusal(capsys, "predict", out, "--data", argv[2])
        assert message.startswith(f"{out} holds a network without the scaling of its data")
