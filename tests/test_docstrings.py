"""The public face: `help(bp)`, examples in docstrings that run, and signatures that an editor sees."""

import doctest
import inspect
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import manual_bp as bp
import manual_bp.sklearn

MODULES = [bp, bp.checker, bp.convert, bp.privacy, manual_bp.sklearn]
PUBLIC = {
    f"{module.__name__}.{name}": value
    for module in MODULES
    for name, value in ((name, getattr(module, name)) for name in module.__all__)
    if callable(value) and not (isinstance(value, type) and issubclass(value, Exception))
}


@pytest.mark.parametrize("name", PUBLIC)
def test_the_example_prints_what_it_says(name):
    text = inspect.getdoc(PUBLIC[name]) or ""
    names = {"bp": bp, "jax": jax, "jnp": jnp, "np": np, "optax": optax}
    example = doctest.DocTestParser().get_doctest(text, names, name, None, None)
    assert len(example.examples) >= 2 or not inspect.isfunction(PUBLIC[name]), f"{name} has no example"
    said = []
    with jax.enable_x64(False):
        failed = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example, out=said.append).failed
    assert not failed, "".join(said)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_all_names_what_there_is(module):
    public = {name for name, value in vars(module).items() if not name.startswith("_")}
    assert set(module.__all__) <= public and sorted(module.__all__) == list(module.__all__)


def test_help_lists_the_functions():
    shown = subprocess.run(
        [sys.executable, "-c", "import manual_bp; help(manual_bp)"], capture_output=True, text=True, check=True
    ).stdout
    functions = [name for name in bp.__all__ if inspect.isfunction(getattr(bp, name))]
    assert len(functions) >= 35
    for name in functions:
        assert f"    {name}(" in shown, f"help(manual_bp) does not list {name}"


def test_an_editor_sees_signatures(tmp_path):
    """pyright knows the arguments of every public function, and finds a wrong number of them."""
    names = [name for name in bp.__all__ if inspect.isfunction(getattr(bp, name))]
    text = "import manual_bp as bp\n" + "".join(f"reveal_type(bp.{name})\n" for name in names)
    (tmp_path / "seen.py").write_text(text + "bp.cost(1, 2, 3, 4, 5, 6, 7)\n")
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, str(tmp_path / "seen.py")]
    found = subprocess.run(command, capture_output=True, text=True, cwd=Path(bp.__file__).parents[1])
    revealed = [line for line in found.stdout.splitlines() if "information: Type of" in line]
    assert len(revealed) == len(names), found.stdout + found.stderr
    opaque = [line for line in revealed if re.search(r'is "(JitWrapped|Unknown|\(\.\.\.\)|Any)', line)]
    assert not opaque, "\n".join(opaque)
    wrong = [line for line in found.stdout.splitlines() if " error: " in line]
    assert len(wrong) == 1 and "Expected 5 positional arguments" in wrong[0], found.stdout
