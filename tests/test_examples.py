"""The examples, run as a user runs them."""

import re
import subprocess
import sys

import jax
import numpy as np
import pytest

import manual_bp as bp
from examples import mislabelled_digits, newton_cg, private_digits


@pytest.fixture(autouse=True)
def x64():
    """The examples run as JAX starts: in float32."""
    with jax.enable_x64(False):
        yield


def run(capsys: pytest.CaptureFixture, example, *argv: str) -> str:
    assert example.main(argv) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def numbers(pattern: str, out: str) -> np.ndarray:
    """What the pattern's groups match, a row for each line."""
    return np.array(re.findall(pattern, out, re.MULTILINE), float)


def test_private_digits_spend_the_budget_and_no_more(capsys):
    out = run(capsys, private_digits, "--epsilon", "2", "--steps", "60")
    sigma = float(numbers(r"^noise multiplier (\S+), for epsilon 2 at delta 0.0001; ", out)[0])
    step, _, spent = numbers(r"^  step +(\d+): test accuracy (.+)%, epsilon spent (.+)$", out).T
    assert step.tolist() == list(range(6, 61, 6))
    assert (np.diff(spent) > 0).all()
    assert spent[3] == pytest.approx(bp.privacy.epsilon(sigma, private_digits.RATE, 24, 1e-4), abs=0.006)
    ((private, total),) = numbers(r"^private +test accuracy (.+)%, \(epsilon, delta\) = \((.+), 0.0001\)$", out)
    assert 2 - 1e-3 <= total <= 2
    (plain,) = numbers(r"^not private +test accuracy (.+)%, ", out)
    assert 75 <= private < plain
    assert plain >= 93
    assert "cost" not in out


def test_hardly_any_privacy_budget_teaches_hardly_anything(capsys):
    out = run(capsys, private_digits, "--epsilon", "0.02", "--steps", "20")
    (private,) = numbers(r"^private +test accuracy (.+)%, \(", out)
    (plain,) = numbers(r"^not private +test accuracy (.+)%, ", out)
    assert private <= 40
    assert plain >= 80


def test_mislabelled_digits_are_found_and_drawn(capsys, tmp_path):
    path = tmp_path / "found.png"
    argv = ("--seed", "1", "--plot", str(path))
    out = run(capsys, mislabelled_digits, *argv)
    assert "1797 handwritten digits, 90 of them with a wrong label; " in out
    rows = numbers(r"^ +top (\d+) +(.+)% +(.+)% +(.+)%$", out)
    assert rows[:, 0].tolist() == [10, 25, 50, 90, 90]
    assert (rows[:, 3] == 5).all()
    norm, loss = rows[:, 1], rows[:, 2]
    assert (norm[:3] >= 98).all() and (loss[:3] >= 98).all()
    assert norm[3] >= 88 and loss[3] >= 88
    # Learnt by heart, wrong labels look like right ones
    assert norm[4] <= norm[3] - 10 and loss[4] <= loss[3] - 10
    png = path.read_bytes()
    assert png.startswith(b"\x89PNG") and 30_000 < len(png) < 150_000
    assert run(capsys, mislabelled_digits, *argv) == out
    assert path.read_bytes() == png


def test_flipped_labels_are_of_another_class():
    true = np.arange(1000) % 10
    given, flipped = mislabelled_digits._flip(true, np.random.default_rng(0))
    assert flipped.sum() == 50
    assert (flipped == (given != true)).all()
    assert given.min() == 0 and given.max() == 9


def test_newton_reaches_a_lower_cost_than_adam_with_as_many_evaluations(capsys):
    out = run(capsys, newton_cg, "--steps", "30")
    assert "evaluations   Newton-CG   Adam 0.01   Adam 0.03    Adam 0.1\n" in out
    rows = numbers(r"^ +(\d+)" + r" +(\d\.\d\de[+-]\d\d)" * 4 + "$", out)
    assert rows[:, 0].tolist() == [14 * n for n in (1, 4, 8, 15, 30)]
    costs = rows[:, 1:]
    assert (np.diff(costs, axis=0) < 0).all()
    assert (costs[0, 0] > costs[0, 1:]).all()
    assert costs[-1, 0] < 0.1 * costs[-1, 1:].min()
    (accuracies,) = numbers(r"^test accuracy" + r" +(.+?)%" * 4 + "$", out)
    assert (accuracies >= 94).all()


@pytest.mark.parametrize(
    ("example", "argv", "module", "message"),
    [
        (newton_cg, (), "sklearn.datasets", "the digits come with scikit-learn: pip install 'manual_bp[sklearn]'"),
        (
            private_digits,
            (),
            "dp_accounting",
            "privacy accounting needs dp-accounting: pip install 'manual_bp[privacy]'",
        ),
        (
            mislabelled_digits,
            ("--plot", "x.png"),
            "matplotlib.figure",
            "--plot needs matplotlib: pip install 'manual_bp[bench]'",
        ),
    ],
)
def test_a_missing_extra_is_named_in_one_line(capsys, monkeypatch, example, argv, module, message):
    monkeypatch.setitem(sys.modules, module, None)
    assert example.main(argv) == 2
    assert capsys.readouterr().err == f"python -m {example.__name__}: error: {message}\n"


def test_a_picture_that_cannot_be_written_is_reported(capsys, tmp_path):
    assert mislabelled_digits.main(["--plot", str(tmp_path / "absent" / "x.png")]) == 2
    assert re.fullmatch(r"python -m .*mislabelled_digits: error: .*No such file.*\n", capsys.readouterr().err)


@pytest.mark.parametrize("argv", [("--epsilon", "0"), ("--steps", "0"), ("--seed=-1",), ("--epochs", "3")])
def test_a_bad_option_is_refused(capsys, argv):
    with pytest.raises(SystemExit) as exit:
        private_digits.main(argv)
    assert exit.value.code == 2
    assert capsys.readouterr().err.startswith("usage: python -m examples.private_digits ")


@pytest.mark.parametrize("name", ["private_digits", "mislabelled_digits", "newton_cg"])
def test_the_modules_run(name):
    argv = [sys.executable, "-m", f"examples.{name}", "--help"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--seed N" in done.stdout
