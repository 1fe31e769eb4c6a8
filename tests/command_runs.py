"""Runs of `python -m manual_bp` inside the test's process, and small files for them."""

from pathlib import Path

import numpy as np
import pytest

from manual_bp import __main__ as command


def run(capsys: pytest.CaptureFixture, *argv: str) -> str:
    """What a run that succeeds prints."""
    assert command.main(argv) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def refusal(capsys: pytest.CaptureFixture, *argv: str, status: int = 2) -> str:
    """The one line on stderr of a run that fails."""
    assert command.main(argv) == status
    err = capsys.readouterr().err
    assert err.startswith("manual_bp: error: ") and err.endswith("\n") and err.count("\n") == 1
    return err.removeprefix("manual_bp: error: ").removesuffix("\n")


def blobs(folder: Path) -> str:
    """An .npz of three classes that trains in no time."""
    rng = np.random.default_rng(0)
    y = np.arange(45) % 3
    np.savez(folder / "blobs.npz", X=rng.normal(size=(45, 4)) + y[:, None], y=y)
    return str(folder / "blobs.npz")


def trees(folder: Path) -> str:
    """A .csv of two classes, which a feature tells apart."""
    rng = np.random.default_rng(1)
    rows = [f"{rng.normal() + 8 * (name == 'oak')},{rng.normal()},{name}" for name in ["oak", "elm"] * 20]
    (folder / "trees.csv").write_text("\n".join(["height,width,species", *rows]))
    return str(folder / "trees.csv")


def plane(folder: Path) -> str:
    """A .csv of values that follow from two features, but for noise; far from 0, and the features of unlike size."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(90, 2)) * (1, 100)
    y = 300 + 20 * X[:, 0] + 0.2 * X[:, 1] + rng.normal(size=90)
    rows = [",".join(map(str, row)) for row in np.column_stack([X, y]).tolist()]
    (folder / "plane.csv").write_text("\n".join(["a,b,value", *rows]))
    return str(folder / "plane.csv")


# Of `plane`, enough to learn it
REGRESSION = ("--regression", "--hidden", "16", "--epochs", "40", "--learning-rate", "0.01", "--batch-size", "8")
