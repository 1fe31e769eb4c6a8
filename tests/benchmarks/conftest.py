import pytest
from benchmark_runs import CACHED

from benchmarks import environment
from benchmarks.gradients import programs


@pytest.fixture(autouse=True)
def no_product(monkeypatch):
    """Measure no matrix product."""
    monkeypatch.setattr(environment, "matmul_flops", lambda dtype: 1e11)


@pytest.fixture
def fast(monkeypatch):
    """Compile no gradient twice."""
    monkeypatch.setattr(programs, "of_cell", CACHED)
