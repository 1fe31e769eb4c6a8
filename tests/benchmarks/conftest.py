import jax
import pytest
from benchmark_runs import CACHED, gradients

from benchmarks import environment, measure, page
from benchmarks.gradients import programs


@pytest.fixture(autouse=True, scope="module")
def suites_on_cpu(on_cpu):
    """Lets the suites take the CPU for the device that they are asked to measure, where there is a GPU too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "default_backend", lambda: "cpu")
        yield


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


@pytest.fixture
def made_up(monkeypatch):
    """Make the programs of a run of gradients, but compile nothing, and make its rows up."""

    def measure_cell(suite, of, *args):
        of.programs()
        row = gradients(of.fields["batch_size"])
        return {field: row[field] for field in ("errors", "error", "programs")}

    monkeypatch.setattr(measure, "measure_cell", measure_cell)
