"""The pytest plugin, in small projects of its own: the fixtures, and the pages of --gradient-report."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import manual_bp as bp
import pytest_manual_bp

pytest_plugins = ["pytester"]
TESTS = """
import jax
import numpy as np
import pytest

W, X = np.ones((2, 3)), np.eye(3, 5)
square = jax.custom_vjp(lambda x: x**2)
square.defvjp(lambda x: (x**2, x), lambda x, u: (2 * x,))

def cost(W, X):
    return ((W @ X) ** 2).sum(axis=0).mean()

@pytest.mark.parametrize("c", [0.4, 2.0])
def test_of_a_factor(assert_gradients_match, c):
    assert_gradients_match(cost, lambda W, X: c * W @ X @ X.T, W, X)

def test_twice(assert_gradients_match):
    assert_gradients_match(cost, lambda W, X: 0.4 * W @ X @ X.T, W, X)
    assert_gradients_match(cost, lambda W, X: 0.4 * W @ X @ X.T, W, X, finite_differences=True)

def test_cannot_tell(assert_gradients_match):
    assert_gradients_match(cost, lambda W, X: 0.4 * W @ X @ X.T, 0 * W, 0 * X)

def test_rule(assert_custom_vjp):
    assert_custom_vjp(square, X, seed=1)

def test_error(assert_gradients_match):
    def broken(W, X):
        return W + X
    assert_gradients_match(broken, cost, W, X)

def test_refused(assert_custom_vjp):
    assert_custom_vjp(cost, W, X)

def test_of_something_else():
    pass
"""


@pytest.fixture
def run(pytester, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # it is tried whether or not this package is installed
    monkeypatch.delitem(sys.modules, "pytest_manual_bp")  # pytest is to import it
    pytester.makeini("[pytest]")  # none of a folder above
    pytester.makepyfile(test_mine=TESTS)
    return lambda *options: pytester.runpytest("-p", "pytest_manual_bp", "-p", "no:cacheprovider", *options)


def test_a_failure_is_the_report_without_frames_of_the_tool(run):
    done = run()
    done.assert_outcomes(passed=3, failed=5)
    done.stdout.re_match_lines(
        [
            r">       assert_gradients_match\(cost, lambda W, X: c \* W",
            r"E       manual_bp\.checker\.WrongGradient: wrong: dW \(missing 1/m\)",
            r"E +dW +wrong ",
            r"test_mine\.py:\d+: WrongGradient",
            r"E       AssertionError: the gradients could not be verified",
            r"E       cannot tell: dW",
            r"test_mine\.py:\d+: AssertionError",
            r"E       manual_bp\.checker\.WrongGradient: wrong: dx \(cotangent forgotten\)",
            r"test_mine\.py:\d+: WrongGradient",
            r"test_mine\.py:\d+: *",
            r">       return W \+ X",
            r"test_mine\.py:\d+: TypeError",
            r"E       ValueError: f has no custom_vjp in it",
            r"test_mine\.py:\d+: ValueError",
        ]
    )
    places = [line.partition(":")[0] for line in done.outlines if ".py:" in line and not line.startswith("FAILED")]
    assert places == ["test_mine.py"] * 6
    whole = run("--full-trace", "-k", "refused").stdout.str()
    assert "_custom_vjp.py:" in whole


def test_pages_named_by_test_and_an_index(run, pytester):
    done = run("--gradient-report", "a/b")
    folder = pytester.path / "a" / "b"
    done.stdout.fnmatch_lines([f"6 reports of gradients: {folder / 'index.html'}"])
    index = (folder / "index.html").read_text()
    expected = {
        "cannot_tell": "cannot tell", "of_a_factor-0.4": "right", "of_a_factor-2.0": "wrong", "rule": "wrong",
        "twice": "right", "twice-2": "right",
    }  # fmt: skip
    files = [f"test_mine.py-test_{name}.html" for name in expected]
    assert sorted(path.name for path in folder.iterdir()) == sorted(["index.html", *files])
    for file, verdict in zip(files, expected.values(), strict=True):
        row = next(row for row in index.splitlines() if f'href="{file}"' in row)
        page = (folder / file).read_text()
        assert f">{verdict}</span>" in row and f">{verdict}</span>" in page and 'href="index.html"' in page
    page = (folder / files[2]).read_text()
    assert "<title>test_mine.py::test_of_a_factor[2.0]</title>" in page and "missing 1/m" in page


def test_workers_send_their_reports(run, pytester):
    done = run("-p", "xdist", "-n", "1", "-k", "twice", "--gradient-report", "pages")
    done.assert_outcomes(passed=1)
    files = sorted(path.name for path in (pytester.path / "pages").iterdir())
    assert files == ["index.html", "test_mine.py-test_twice-2.html", "test_mine.py-test_twice.html"]


def test_no_report_and_no_folder(run, pytester):
    run("-k", "something_else", "--gradient-report", "pages").stdout.fnmatch_lines(["0 reports of gradients: *"])
    assert "No test has used" in (pytester.path / "pages" / "index.html").read_text()
    refused = run("--gradient-report", "test_mine.py")
    refused.stderr.fnmatch_lines(["ERROR: --gradient-report expects a folder to write pages to; *File exists*"])


def test_any_name_becomes_a_file_of_its_own(tmp_path):
    names = [
        "a.py::t[x/y]",
        "a.py::t[x:y]",
        "a.py::T[x y]",
        "a.py::T[x;y]",
        "a.py::t[" + "ü" * 300 + "w" * 300 + "]",
        "<b>.py::t",
    ]
    pages = pytest_manual_bp.Pages(tmp_path)
    pages.found = [(name, "<b>right</b>\nmore") for name in names]
    pages.pytest_sessionfinish()
    files = [path.name for path in tmp_path.iterdir()]
    assert len({file.lower() for file in files}) == len(names) + 1
    assert "&lt;b&gt;.py::t" in (tmp_path / "index.html").read_text()


def test_a_start_of_pytest_does_not_import_jax():
    code = "import sys, pytest_manual_bp; print([m for m in ('jax', 'numpy', 'manual_bp') if m in sys.modules])"
    path = {"PYTHONPATH": str(Path(bp.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | path
    )
    assert done.stdout == "[]\n"
