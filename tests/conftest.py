import contextlib
import gc
import importlib
import os
import sys
from pathlib import Path

import jax
import pytest
from hypothesis import settings

pytest_plugins = ["compiled_programs"]

# Before any backend starts. Compiling is most of what a test takes, and half of that is LLVM's optimization, which
# comes after everything that depends on the program: what is fused, simplified or folded stays as users have it.
os.environ["XLA_FLAGS"] = f"--xla_backend_optimization_level=0 {os.environ.get('XLA_FLAGS', '')}"
# A worker of pytest-xdist computes on a core of its own
if (worker := os.environ.get("PYTEST_XDIST_WORKER", "")) and hasattr(os, "sched_setaffinity"):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})
# Programs and their traces are many objects that stay: a fortieth of the time would go into looking for garbage
gc.set_threshold(50_000, 20, 50)
# A program that has not changed since the last run is read and not compiled: such a run takes half of the time
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parents[1] / ".jax_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
# Meshes need more devices than a CPU has
jax.config.update("jax_num_cpu_devices", 8)
# On an accelerator the default precision of a float32 product is lower than float32
jax.config.update("jax_default_matmul_precision", "highest")

# The same examples each time, so that a failure is a change of the code; --deep looks for new ones
settings.register_profile("quick", max_examples=15, derandomize=True, database=None, deadline=None)
settings.register_profile("deep", max_examples=150, deadline=None)


def pytest_addoption(parser):
    parser.addoption("--deep", action="store_true", help="search ten times deeper, and take the long lists in full")


def pytest_configure(config):
    settings.load_profile("deep" if config.getoption("deep") else "quick")
    config.addinivalue_line("markers", "deep: a case of a long list, which is taken with --deep")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("deep"):
        items[:] = [item for item in items if not item.get_closest_marker("deep")]


@pytest.fixture(scope="session")
def deep(pytestconfig) -> bool:
    return pytestconfig.getoption("deep")


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True, scope="module")
def programs():
    """Drops the compiled programs in time: they take memory maps, of which Linux gives a process 65,530."""
    yield
    maps = Path("/proc/self/maps")
    if not maps.exists() or maps.read_bytes().count(b"\n") > 20_000:
        jax.clear_caches()


@pytest.fixture(scope="module")
def on_cpu():
    """Computes on the CPU, for tests of its forms and of meshes of its devices, where JAX would choose a GPU."""
    is_default = jax.default_backend() == "cpu"
    with contextlib.nullcontext() if is_default else jax.default_device(jax.devices("cpu")[0]):
        yield


@pytest.fixture
def plant(monkeypatch):
    """Imports a copy of the package, one line of a module replaced; it is forgotten after the test."""
    # only now: the package is not to be imported before its shapes' checks are in place
    from planted import NAME, PlantedPackage

    def imported(module: str = "", *change: str):
        package = PlantedPackage(module, *change)
        monkeypatch.setattr(sys, "meta_path", [package, *sys.meta_path])
        found = importlib.import_module(NAME)
        assert package.is_planted, f"{module} was not imported"
        return found

    yield imported
    for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
        del sys.modules[name]


@pytest.fixture
def unjitted():
    """Runs operations one by one, so that copies of the package share what each compiles to."""
    with jax.disable_jit():
        yield
