"""The machine that a benchmark runs on: its device, versions, and speed of a matrix product."""

import importlib
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jaxlib.version
import numpy as np

ROOT = Path(__file__).parents[1]
INSTALL_PEERS = "pip install 'manual_bp[peers]'"
INSTALL_BENCH = "pip install 'manual_bp[bench]'"


class UsageError(Exception):
    """A request that cannot be met. The text is printed as one line, and the exit status is 2."""


def require(module: str) -> ModuleType:
    """Import a module that comes with the extra `bench`."""
    try:
        return importlib.import_module(module)
    except ImportError:
        name = module.partition(".")[0]
        raise UsageError(f"this command needs {name}: {INSTALL_BENCH}") from None


def select_device(kind: str | None) -> None:
    """Make JAX compute on "cpu" or "gpu"; None leaves the choice to JAX."""
    # The platform and not `jax.default_device`: manual_bp chooses its form of a product by the platform
    if kind == "cpu":
        jax.config.update("jax_platforms", "cpu")
    try:
        backend = jax.default_backend()
    except RuntimeError as error:
        raise UsageError(str(error).splitlines()[0]) from None
    if kind not in (None, backend):
        raise UsageError(f"no {kind} here: JAX computes on {backend}")


def describe(dtype: str) -> dict[str, Any]:
    """The conditions that times depend on, equal for all rows of a results file."""
    return {
        "device": _device_name(),
        "backend": jax.default_backend(),
        "devices": jax.device_count(),
        "platform": platform.platform(),
        "threads": cores(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "jax": jax.__version__,
        "jaxlib": jaxlib.version.__version__,
        "commit": _commit(),
        "dtype": dtype,
        "matmul_precision": jax.config.values.get("jax_default_matmul_precision") or "default",
    }


def cores() -> int:
    """The number of cores that the process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_here(package: str) -> bool:
    """Whether a package can be imported."""
    try:
        importlib.import_module(package)
    except (ImportError, OSError):  # OSError: a shared library of torch cannot be loaded
        return False
    return True


def is_tf32(dtype: str) -> bool:
    """Whether products are rounded to TF32: those of float32 on a GPU, unless full precision is asked for."""
    config: Any = jax.config
    precision = config.jax_default_matmul_precision
    return dtype == "float32" and jax.default_backend() == "gpu" and precision not in ("highest", "float32")


def torch_without_gpu() -> str | None:
    """The reason why PyTorch, which is there, cannot compute on the GPU that JAX computes on; None if it can."""
    if jax.default_backend() != "gpu" or importlib.import_module("torch").cuda.is_available():
        return None
    return "torch sees no GPU"


def matmul_flops(dtype: str, n: int | None = None) -> float:
    """FLOP/s of a product of matrices of n rows and columns."""
    n = n or (2048 if jax.default_backend() == "cpu" else 8192)
    a, b = jax.random.uniform(jax.random.key(0), (2, n, n), jnp.dtype(dtype))
    return 2 * n**3 / fastest(jax.jit(jnp.matmul), a, b)


def fastest(function: Callable[..., Any], *args: Any) -> float:
    """The seconds of the fastest call of ten, or of as many as begin within a second, after a first one."""
    jax.block_until_ready(function(*args))
    times = []
    while len(times) < 10 and sum(times) < 1:
        start = time.perf_counter()
        jax.block_until_ready(function(*args))
        times.append(time.perf_counter() - start)
    return min(times)


class Clock(NamedTuple):
    """Times in seconds: wall time, busy time of all cores, and CPU time of this process."""

    wall: float
    busy: float
    own: float


def clock() -> Clock | None:
    """The current times; None if the system does not report the busy time of its cores."""
    try:
        # user, nice, system, idle, iowait, irq, softirq, steal
        ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    busy = (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
    return Clock(time.perf_counter(), busy, time.process_time())


def share_of_others(start: Clock | None, stop: Clock | None) -> float | None:
    """The share of all cores' time that other processes took, from 0 to 1."""
    if start is None or stop is None:
        return None
    wall, busy, own = (b - a for a, b in zip(start, stop, strict=True))
    return round(min(max((busy - own) / (wall * (os.cpu_count() or 1)), 0.0), 1.0), 3)


def slug(device: str) -> str:
    """The name of a device as a part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)", "", device.lower())).strip("-")


def _device_name() -> str:
    if jax.default_backend() != "cpu":
        return jax.devices()[0].device_kind
    try:
        described = Path("/proc/cpuinfo").read_text()
    except OSError:
        described = ""
    return processor(described) or platform.processor() or platform.machine()


def processor(described: str) -> str | None:
    """The processor that the text of /proc/cpuinfo is about; None if that does not name it.

    A name without a number, such as "AMD EPYC", stands for many processors: it is followed by family and model.
    """
    first = dict(re.findall(r"^(\S.*?)\s*:\s*(.*?)\s*$", described.partition("\n\n")[0], re.MULTILINE))
    name = first.get("model name")
    if name and not re.search(r"\d", name.partition("@")[0]) and {"cpu family", "model"} <= first.keys():
        return f"{name} (family {first['cpu family']}, model {first['model']})"
    return name


def _commit() -> str | None:
    """The current commit, with "+dirty" if tracked files have changes; None outside git."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        return commit + ("+dirty" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*args: str) -> str:
    return subprocess.run(["git", *args], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
