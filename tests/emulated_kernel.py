"""The kernel's text compiled by g++ and run on the CPU, thread by thread; see tests/kernel/emulate.h."""

import atexit
import ctypes
import functools
import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from manual_bp._kernel import fused, packing, takes
from manual_bp._kernel.chips import Chip
from manual_bp._kernel.takes import Form

HOPPER = Chip("9.0", 132, 232448)
SOURCES = Path(takes.__file__).parent
TEXTS = {name: (SOURCES / name).read_text() for name in ("fused.cu", "hardware.cuh")}
TEXT = TEXTS["fused.cu"]
EMULATION = Path(__file__).parent / "kernel"


@functools.cache
def _folder() -> Path:
    folder = tempfile.mkdtemp(prefix="kernel-")
    atexit.register(shutil.rmtree, folder)
    return Path(folder)


@functools.cache
def library(form: Form, old: str = "", new: str = "") -> ctypes.CDLL:
    """The emulation of a form of the kernel, with one line of its text replaced."""
    if shutil.which("g++") is None:
        pytest.fail("these tests need g++, which compiles the kernel's text for the CPU: install a C++ compiler")
    text = "".join(f"#define {name} {value}\n" for name, value in form.defines.items())
    folder = _folder() / hashlib.sha256(f"{text}{old}{new}".encode()).hexdigest()[:16]
    folder.mkdir()
    times = sum(given.count(old) for given in TEXTS.values())
    assert times == 1 or not old, f"{old!r} occurs {times} times"
    for name, given in TEXTS.items():
        (folder / name).write_text(given.replace(old, new) if old else given)
    (folder / "main.cc").write_text(f'{text}#include "emulate_main.cc"\n')
    # longjmp between stacks is what _FORTIFY_SOURCE refuses
    command = ["g++", "-std=c++17", "-O1", "-U_FORTIFY_SOURCE", "-w", "-shared", "-fPIC"]
    include = [f"-I{path}" for path in (folder, EMULATION)]
    subprocess.run([*command, *include, str(folder / "main.cc"), "-o", str(folder / "kernel.so")], check=True)
    return ctypes.CDLL(str(folder / "kernel.so"))


def written(
    form: Form, packed, X, Y, weights=None, blocks: int = 1, seed: int = 0, left_out: int = 0, change: tuple = ()
) -> list[np.ndarray]:
    """The results of the kernel, without the barrier in line `left_out`: a row of sums for each block; dZ[1]."""
    kernel = library(form, *change)
    stored = ml_dtypes.bfloat16 if form.precision == "BFLOAT16" else np.float32
    m = X.shape[1]
    arrays = [
        *map(np.asarray, packed),
        np.ascontiguousarray(X, stored),
        np.ascontiguousarray(Y, np.int32 if form.indices else stored),
        np.ascontiguousarray(np.zeros(1) if weights is None else weights, np.float32),
    ]
    results = [np.full(x.shape, np.nan, x.dtype) for x in fused.results(form, blocks, arrays[2])]
    given, (sums, *dZ_1) = ([ctypes.c_void_p(array.ctypes.data) for array in of] for of in (arrays, results))
    status = kernel.run(*given, m, sums, *(dZ_1 or [None]), blocks, seed, left_out)
    assert status == 0, "the threads wait for each other"
    return results


def value_and_grad(form: Form, rows: np.ndarray):
    """The cost and its gradient from the rows, as the jitted function has them."""
    with jax.enable_x64(True):
        c, grads, weight = packing.unpack(form, jnp.asarray(rows.sum(axis=0), jnp.float64))
        return c / weight, jax.tree.map(lambda d: d / weight, grads)
