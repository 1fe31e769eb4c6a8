"""Copies of the package with one line made wrong, for the tests that say that a mistake is noticed."""

import importlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import manual_bp
from reference.autodiff import Model
from reference.grid import Problem

SOURCE = Path(manual_bp.__file__).parent


def copy(tmp_path: Path, name: str, module: str = "", right: str = "", wrong: str = ""):
    """The package under another name, one line of a module replaced; the checker, not under test, stays as it is."""
    (tmp_path / name).mkdir()
    for file in SOURCE.rglob("*.py"):
        path = file.relative_to(SOURCE)
        if path.parts[0] == "checker":
            continue
        text = file.read_text()
        if path.with_suffix("").as_posix() == module:
            assert text.count(right) == 1, f"{right!r} stands {text.count(right)} times in {module}.py"
            text = text.replace(right, wrong)
        (tmp_path / name / path).parent.mkdir(exist_ok=True)
        (tmp_path / name / path).write_text(re.sub(r"from manual_bp(?!.*checker)", f"from {name}", text))
    return importlib.import_module(name)


def small_problem(hidden, output="softmax", cost="cross_entropy", targets="indices") -> Problem:
    """All have the same sizes, so that they share what JAX compiles for one operation."""
    return Problem(f"{hidden}, {output}, {cost}", Model((6, 7, 4, 3), hidden, output, cost), 9, targets)


def check_table(mistakes: dict[str, tuple[str, str, str]], noticed: Callable) -> tuple[Callable, Callable]:
    """The tests of a table of mistakes: a faithful copy passes, and a copy with any of them does not."""

    def test_a_faithful_copy_passes(import_path):
        assert not noticed(copy(import_path, "faithful"))

    @pytest.mark.parametrize("mistake", mistakes)
    def test_mistake_is_noticed(mistake, import_path):
        assert noticed(copy(import_path, "mistaken", *mistakes[mistake]))

    return test_a_faithful_copy_passes, test_mistake_is_noticed
