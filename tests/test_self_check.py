"""`python -m manual_bp`, the self-check on the user's machine."""

import importlib
import subprocess
import sys

import jax
import pytest
from planted import NAME

from manual_bp import __main__ as self_check


def shortened(module):
    """The check, reduced to three networks and two rounds at two batch sizes."""
    module.CASES, module.BATCH_SIZES, module.ROUNDS, module.DRAWS = module.CASES[1:4], (1, 3), 2, 2
    return module


def test_right_gradients_give_status_0(capsys, monkeypatch):
    for name in ("CASES", "BATCH_SIZES", "ROUNDS", "DRAWS"):
        monkeypatch.setattr(self_check, name, getattr(self_check, name))
    with jax.enable_x64(False):
        assert shortened(self_check).main([]) == 0
        assert jax.numpy.zeros(1, float).dtype == "float32"
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0].startswith("manual_bp ") and "CPU cores" in lines[0]
    assert [line.rsplit(maxsplit=1)[1] for line in lines[3:6]] == ["right"] * 3
    assert lines[7].endswith("manual jax.grad  ratio") and "3 examples" in lines[9]
    assert lines[-1] == "0 of 3 gradients are wrong"


@pytest.mark.parametrize(
    ("module", "right", "wrong"),
    [
        ("_activations", "return (1 - A) * (1 + A)", "return 1 - A"),
        ("_activations", "return A * (1 - A)\n", "return 1.00000001 * A * (1 - A)\n"),  # seen in float64 alone
    ],
)
def test_a_planted_mistake_gives_status_1(capsys, plant, module, right, wrong):
    plant(module, right, wrong)
    planted = importlib.import_module(f"{NAME}.__main__")
    assert shortened(planted).main([]) == 1
    out, _ = capsys.readouterr()
    assert out.count("WRONG") == 1 and out.endswith("1 of 3 gradients are wrong\n")


@pytest.mark.parametrize("error", [float("nan"), 2e-5])
def test_a_bad_float32_gradient_alone_is_wrong(monkeypatch, error):
    errors = self_check.errors

    def planted(dtype, found, true):
        return [*errors(dtype, found, true)[:-1], error if dtype == "f4" else 0.0]

    monkeypatch.setattr(self_check, "errors", planted)  # also what is taken for autodiff's own error
    assert self_check.check(self_check.CASES[3])[-1] is False


def test_a_gradient_of_another_dtype_or_shape_is_wrong():
    ones = jax.numpy.ones((2, 3))
    assert self_check.errors("f8", ones, ones) == [0]
    assert self_check.errors("f4", ones, ones) == self_check.errors("f8", ones.T, ones) == [float("inf")]
    zero, off = (ones, 0 * ones), (ones, 0 * ones + 0.5)
    assert self_check.errors("f8", off, zero) == [0, 0.5]


def test_command():
    done = subprocess.run([sys.executable, "-m", "manual_bp", "--help"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: python -m manual_bp [-h] {check} ...\n")
