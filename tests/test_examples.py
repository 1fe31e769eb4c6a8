"""The examples, run as a user runs them."""

import io
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

import manual_bp as bp
from examples import mislabelled_digits, newton_cg, private_digits, train_table

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def x64():
    """The examples run as JAX starts: in float32."""
    with jax.enable_x64(False):
        yield


def run(capsys: pytest.CaptureFixture, example, *argv: str) -> str:
    example.main(list(argv))
    out, err = capsys.readouterr()
    assert err == ""
    return out


def numbers(pattern: str, out: str) -> np.ndarray:
    """The numbers that the pattern's groups match, a row for each line."""
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


def test_mislabelled_digits_are_found_and_drawn(capsys, tmp_path, deep):
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
    if deep:
        assert run(capsys, mislabelled_digits, *argv) == out
        assert path.read_bytes() == png


def test_wrong_labels_are_of_another_class():
    true = np.arange(1000) % 10
    given, wrong = mislabelled_digits.mislabel(true, np.random.default_rng(0))
    assert wrong.sum() == 50
    assert (wrong == (given != true)).all()
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


@pytest.fixture
def passengers(tmp_path) -> Path:
    """A table with text columns and gaps: who survived depends on sex, class, age and port."""
    rng, m = np.random.default_rng(0), 400
    sex, port = rng.choice(["female", "male"], m), rng.choice(["Southampton", "Cherbourg", "Queenstown"], m)
    berth, age, fare = rng.choice(["first", "second", "third"], m), rng.uniform(1, 70, m), rng.gamma(2, 15, m)
    score = 2.5 * (sex == "female") + 1.5 * (berth == "first") - age / 30 + (port == "Cherbourg") - 0.7
    table = pd.DataFrame({"class": berth, "sex": sex, "age": age, "port": port, "fare": fare})
    table["ticket"] = [f"{n} {port[:1]}" for n in range(m)]  # every value is rare
    table["alone"] = rng.random(m) < 0.5
    for column, share in {"age": 0.2, "port": 0.05, "fare": 0.02, "class": 0.02}.items():
        table.loc[rng.random(m) < share, column] = None
    table["survived"] = np.where(score + rng.logistic(0, 0.3, m) > 0, "yes", "no")
    table.to_csv(tmp_path / "passengers.csv", index=False)
    return tmp_path / "passengers.csv"


def test_a_table_with_text_and_gaps_is_learnt_saved_and_predicted(capsys, passengers, tmp_path):
    saved = str(tmp_path / "passengers.joblib")
    out = run(capsys, train_table, str(passengers), "--out", saved)
    assert out.startswith("400 rows; 2 columns of numbers, 5 of text; ")
    (network,), (constant,) = (
        numbers(rf"^accuracy of {name}, five folds: (\d.\d+),", out) for name in ("the network", "a constant")
    )
    assert network >= 0.8 and network >= constant + 0.2
    assert "loading a .joblib file runs code" in out

    # New rows: other tickets, a port and a class never seen, one more column, no answers, another order of columns
    table = pd.read_csv(passengers)
    new = table.drop(columns="survived").assign(ticket="other", deck="B").iloc[:, ::-1]
    new.loc[0, ["port", "class"]] = "elsewhere", "fourth"
    new.to_csv(tmp_path / "new.csv", index=False)
    predicted = pd.read_csv(io.StringIO(run(capsys, train_table, str(tmp_path / "new.csv"), "--model", saved)))
    assert predicted.drop(columns="predicted survived").equals(pd.read_csv(tmp_path / "new.csv"))
    assert (predicted["predicted survived"] == table["survived"]).mean() >= network - 0.05


def test_a_table_is_learnt_by_regression(capsys, tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"price": 0.0, "area": rng.uniform(20, 200, 300), "town": rng.choice(["A", "B"], 300)})
    table["price"] = 1e6 + 5e3 * table["area"] * np.where(table["town"] == "A", 2, 1)
    table.loc[::50, "price"] = None  # rows without a target are left out
    table.to_csv(tmp_path / "prices.csv", index=False)
    out = run(capsys, train_table, str(tmp_path / "prices.csv"), "--target", "price", "--regression")
    assert out.startswith("294 rows; 1 columns of numbers, 1 of text; 0.0% gaps")
    (score,) = numbers(r"^R² of the network, five folds: (\d.\d+),", out)
    assert score >= 0.95


def test_a_target_that_is_not_there_is_named(capsys, passengers):
    with pytest.raises(SystemExit):
        train_table.main([str(passengers), "--target", "deck"])
    assert "no column is called 'deck'; the columns are class, sex, age," in capsys.readouterr().err


def test_they_run_as_scripts(capsys, monkeypatch):
    for example in (private_digits, mislabelled_digits, newton_cg, train_table):
        assert example.__file__
        monkeypatch.setattr(sys, "argv", [example.__file__, "--help"])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(example.__file__, run_name="__main__")
        assert ended.value.code == 0 and "--seed SEED" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["-m examples.newton_cg", "examples/newton_cg.py"])
def test_one_runs_in_a_process_of_its_own(command):
    argv = [sys.executable, *command.split(), "--help"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd=ROOT, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--seed SEED" in done.stdout
