"""Copies of the package with one line made wrong, for the tests that say that a mistake is noticed."""

import functools
import importlib.abc
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from types import CodeType, ModuleType

import pytest

import manual_bp
from reference.autodiff import Model
from reference.grid import Problem

SOURCE = Path(manual_bp.__file__).parent
NAME = "planted_package"


@functools.cache
def _code(file: Path, right: str = "", wrong: str = "") -> CodeType:
    text = file.read_text()
    if right:
        assert text.count(right) == 1, f"{right!r} stands {text.count(right)} times in {file}"
        text = text.replace(right, wrong)
    # the checker, not under test, stays as it is
    return compile(re.sub(r"from manual_bp(?!.*checker)", f"from {NAME}", text), str(file), "exec", dont_inherit=True)


class PlantedPackage(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the package under the name `NAME`, with one line of one module replaced."""

    def __init__(self, module: str = "", *change: str) -> None:
        self.file, self.change, self.is_planted = SOURCE / f"{module}.py", change, not change

    def find_spec(self, fullname: str, path=None, target=None):
        package, *parts = fullname.split(".")
        where = SOURCE.joinpath(*parts)
        folders = [str(where)] if where.is_dir() else None
        file = where / "__init__.py" if folders else where.with_suffix(".py")
        if package != NAME or not file.exists():
            return None
        return importlib.util.spec_from_file_location(fullname, file, loader=self, submodule_search_locations=folders)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__file__
        file = Path(module.__file__)
        is_changed = file == self.file
        exec(_code(file, *self.change if is_changed else ()), module.__dict__)
        self.is_planted |= is_changed


def small_problem(hidden, output="softmax", cost="cross_entropy", targets="indices") -> Problem:
    """All have the same sizes, so that they share what JAX compiles for one operation."""
    return Problem(f"{hidden}, {output}, {cost}", Model((6, 7, 4, 3), hidden, output, cost), 9, targets)


def check_table(mistakes: dict[str, tuple[str, str, str]], noticed: Callable) -> tuple[Callable, Callable]:
    """The tests of a table of mistakes: a faithful copy passes, and a copy with any of them does not."""

    def test_a_faithful_copy_passes(plant):
        assert not noticed(plant())

    @pytest.mark.parametrize("mistake", mistakes)
    def test_mistake_is_noticed(mistake, plant):
        assert noticed(plant(*mistakes[mistake]))

    return test_a_faithful_copy_passes, test_mistake_is_noticed
