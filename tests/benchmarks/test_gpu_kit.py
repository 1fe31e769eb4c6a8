"""The kit for a GPU, rehearsed on a CPU: no test here needs a GPU, and none says that the kit works on one."""

import importlib.metadata
import importlib.util
import json
import subprocess
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from benchmark_runs import lines_of, refused

import manual_bp as bp
from benchmarks import __main__, environment, fused
from benchmarks.gpu import command, kernel, memory
from benchmarks.gpu.steps import NAMES, Step, steps
from benchmarks.gpu.verification import PRECISIONS
from benchmarks.program import random_problem


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A function that runs the kit with steps of the shell, by name: its status and folder."""

    def run(seconds=20, **scripts):
        def made(device, folder):
            return [Step(name, 1, ["sh", "-c", f"cd {folder}; {script}"]) for name, script in scripts.items()]

        monkeypatch.setattr(command, "steps", made)
        monkeypatch.setattr(command, "NAMES", list(scripts))
        monkeypatch.setattr(command, "device_name", lambda kind: "a device")
        folder = tmp_path / "kit"
        argv = ["gpu", "--device", "cpu", "--seconds", str(seconds), "--out", str(folder), "--only", *scripts]
        return __main__.main(argv), folder

    return run


def test_a_rehearsal(tmp_path, capfd):
    """Real steps; those that run a suite are checked below, as far as its tests do not."""
    argv = ["gpu", "--device", "cpu", "--seconds", "100", "--out", str(tmp_path / "kit")]
    assert __main__.main([*argv, "--only", "machine", "kernel"]) == 0
    limits = [json.loads(line) for line in (tmp_path / "kit" / "machine.jsonl").read_text().splitlines()]
    names = [f"product, {dtype}" for dtype in ("float32", "float32", "bfloat16")]
    assert [row["limit"] for row in limits] == [*names, "copy"] and limits[0]["environment"]["backend"] == "cpu"
    assert all(1e8 < row.get("flops_per_s", row.get("bytes_per_s")) < 1e16 for row in limits)
    (row,) = map(json.loads, (tmp_path / "kit" / "kernel.jsonl").read_text().splitlines())
    assert row["not_run"] == "it needs a GPU"
    ended = [json.loads(line) for line in (tmp_path / "kit" / "steps.jsonl").read_text().splitlines()]
    assert [(step["name"], step["rows"], step["how"]) for step in ended] == [
        ("machine", 4, "done"),
        ("kernel", 1, "done"),
    ]
    out = capfd.readouterr().out
    assert environment.describe("any")["device"] in out and "0 of 2 steps failed. " in out
    assert [line[0] for line in lines_of(out, 4)] == ["step", "machine", "kernel"]


def test_a_step_that_hangs_is_ended_and_its_rows_stay(run, capsys):
    start = time.monotonic()
    status, folder = run(
        3, hangs="echo '{}' >hangs.jsonl; printf half >>hangs.jsonl; echo so far; sleep 60", last="true"
    )
    assert time.monotonic() - start < 30
    out = capsys.readouterr().out
    hangs, last = lines_of(out, 4)[1:]
    assert hangs[:2] == ["hangs", "1"] and hangs[3].startswith("ended at its limit of ")
    assert last[::3] == ["last", "done"] and (folder / "hangs.jsonl").read_text() == "{}\nhalf"
    assert "its last lines:\nso far\n" in out
    # a step that wrote no row measured nothing
    assert status == 1 and "1 of 2 steps failed: last. " in out


def test_a_failing_step_is_named_and_the_others_run(run, capsys):
    status, folder = run(good="echo '{}' >good.jsonl", bad="echo '{}' >bad.jsonl; echo why >&2; exit 3", more="exit 1")
    out = capsys.readouterr().out
    assert status == 1 and "2 of 3 steps failed: bad, more. " in out
    assert [line[3] for line in lines_of(out, 4)[1:]] == ["done", "exit status 3", "exit status 1"]
    assert "bad, exit status 3; its last lines:\nwhy\n" in out and "more, exit status 1; its last lines:\n(none)" in out
    assert json.loads((folder / "steps.jsonl").read_text().splitlines()[1])["lines"] == ["why"]
    assert run(good="echo '{}' >>good.jsonl")[0] == 0


def test_no_time_is_left(run, capsys):
    """The first step has no rest to leave: the time that making the environment takes counts too."""
    status, _ = run(1, first="sleep 5")
    assert status == 1 and "first: 0 rows in 1 s, ended at its limit of 1 s" in capsys.readouterr().out


def test_an_interruption_leaves_what_there_is(run, monkeypatch, capsys):
    wait, waited = subprocess.Popen.wait, []

    def interrupted(process, timeout=None):
        waited.append(process)
        if len(waited) == 2:
            wait(process, timeout=timeout)
            raise KeyboardInterrupt
        return wait(process, timeout=timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    status, folder = run(a="echo '{}' >a.jsonl", b="echo '{}' >b.jsonl", c="echo '{}' >c.jsonl")
    assert status == 130 and not (folder / "c.jsonl").exists()
    assert [line[::3] for line in lines_of(capsys.readouterr().out, 4)[1:]] == [["a", "done"], ["b", "interrupted"]]


def test_what_is_missing_is_said(run, monkeypatch, capsys):
    monkeypatch.setattr(environment, "is_here", lambda package: package not in ("torch", "beartype"))
    assert run(good="echo '{}' >good.jsonl")[0] == 0
    out = capsys.readouterr().out
    assert "torch is not here, which leaves out training with PyTorch\n" in out
    assert "beartype is not here, which leaves out the tests" in out and "flax" not in out


def test_every_platform_is_there(run, monkeypatch):
    """On a GPU the bounds still come from the CPU."""
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    assert run(good='echo "{}$JAX_PLATFORMS" >good.jsonl')[1].joinpath("good.jsonl").read_text() == "{}\n"


def test_no_device(monkeypatch, capsys):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert "no gpu here: JAX computes on cpu" in refused(capsys, "gpu")


def test_results_are_named_by_the_device():
    made, rehearsed = (command.new_folder(kind, "NVIDIA H100 80GB HBM3").name for kind in ("gpu", "cpu"))
    assert made.startswith("gpu-nvidia-h100-80gb-hbm3-2") and rehearsed == f"local-{rehearsed[6:]}"


def test_a_checkout_that_is_not_installed_imports(monkeypatch, plant):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert plant().__version__ == bp.__version__


@pytest.mark.parametrize("device", ["gpu", "cpu"])
def test_the_commands_of_the_steps_are_understood(device, monkeypatch):
    """By the suites, whose runs are replaced; the modules of the others are there."""
    asked = []
    for suite in __main__.COMMANDS.values():
        monkeypatch.setattr(suite, "run", lambda args: asked.append(args) or 0)
    made = steps(device, Path("a folder"))
    for step in made:
        _, option, module, *argv = step.command
        assert option == "-m" and f"a folder/{step.name}.jsonl" == argv[-1]
        if module == "benchmarks":
            assert __main__.main(argv) == 0 and asked[-1].device == device
        else:
            assert importlib.util.find_spec(module) and argv[0] == device
    assert [step.name for step in made] == NAMES and len(asked) == 9
    assert {step.name for step in made if step.precision == "highest"} == {"gradients-highest"}
    sizes = {args.networks[0][0] for args in asked}
    assert sizes == ({"12-8-3"} if device == "cpu" else {"5x64", "784-128-10", "784-512-512-10", "4096-4096-4096-4096"})
    assert device == "cpu" or sum(step.share for step in made) == 600


@pytest.mark.parametrize("mistake", ["", "error", "bits"])
def test_the_check_of_the_kernel_bites(mistake, monkeypatch):
    """A gradient that stands for the kernel: right, 1e-5 off, or with other bits in the second call."""
    right, calls = bp.value_and_grad, []

    def stands_for(network, kernel=None):
        def value_and_grad(*args):
            calls.append(kernel)
            scale = {"": 1, "error": 1 + 1e-5, "bits": 1 + 1.2e-7 * (len(calls) % 2)}[mistake]
            return jax.tree.map(lambda x: x * jnp.asarray(scale, x.dtype), right(network)(*args))

        return value_and_grad

    monkeypatch.setattr(bp, "value_and_grad", stands_for)
    monkeypatch.setattr(fused, "another_way", lambda function, *args: None)
    with jax.enable_x64(False):
        rows = [kernel.check((12, 8, 3), 16, hidden, PRECISIONS[0]) for hidden in ("tanh", "relu")]
    assert calls == ["fused"] * 4
    for row in rows:
        assert (row["ok"], row["judged"], row["same_bits"]) == (not mistake, True, mistake != "bits"), row


def test_examples_at_a_kink_are_replaced(monkeypatch):
    """With a distance that some examples are within, none of those that are left is."""
    monkeypatch.setattr(kernel, "AT_KINK", 2**17)
    kernel._arguments.cache_clear()
    with jax.enable_x64(False):
        params, X, _ = kernel._arguments((12, 8, 3), 64, "relu", "float32")
        whole = random_problem((12, 8, 3), 64, "float32").X
    kernel._arguments.cache_clear()
    Z, replaced = params[0].W @ X + params[0].b, (X != whole).any(axis=0)
    Z_whole = params[0].W @ whole + params[0].b
    near = (abs(Z_whole) <= abs(Z_whole).max() / 128).any(axis=0)
    assert 0 < near.sum() < 64 and (replaced == near).all()
    assert (abs(Z) > abs(Z_whole).max() / 128).all()


def test_a_kernel_that_is_not_run_is_noticed():
    """A CPU takes XLA's way whatever is asked for; such times are not those of a kernel."""
    network = bp.Network((7, 5, 3))
    args = bp.init(network, jax.random.key(0)), jnp.ones((7, 2)), jnp.zeros(2, int)
    reason = fused.another_way(bp.value_and_grad(network), *args)
    assert reason == "the library would not run the fused kernel here"
    assert fused.Fused(bp.value_and_grad(network), args).preparation == {"not_run": reason}
    refusing = fused.Fused(bp.value_and_grad(network), (args[0], args[1][:2], args[2]))
    assert refusing.preparation["not_run"].startswith("ValueError: X has shape (2, 2)")
    assert fused.words(ValueError("")) == "ValueError: "
    assert fused.another_way(jax.jit(jnp.linalg.qr), jnp.eye(2)) is None  # a call of a library is one


def test_rows_of_memory():
    with jax.enable_x64(False):
        found = {row["program"]: row for row in memory.uses()}
    assert list(found) == ["fused", "manual_blocks", "manual", "autodiff"]
    for name in ("manual_blocks", "manual", "autodiff"):
        assert found[name]["temp_bytes"] > 0 and 0 < found[name]["seconds"] < 10 and "peak_bytes" in found[name]
