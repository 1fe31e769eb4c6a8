import pytest
from benchmark_runs import CACHED

from benchmarks import environment, page
from benchmarks.gradients import programs


@pytest.fixture(autouse=True)
def no_product(monkeypatch):
    """Measure no matrix product."""
    monkeypatch.setattr(environment, "matmul_flops", lambda dtype: 1e11)


@pytest.fixture(autouse=True)
def no_drawing(request, monkeypatch):
    """Let runs draw no figure, except in tests that ask for the fixture `drawing`: that takes a second each time."""
    if "drawing" not in request.fixturenames:
        monkeypatch.setattr(page, "files", lambda suite, path: str(path))


@pytest.fixture
def drawing():
    """Lets runs draw their figures."""


@pytest.fixture
def fast(monkeypatch):
    """Compile no gradient twice."""
    monkeypatch.setattr(programs, "of_cell", CACHED)
