"""The programs of a cell by name, or the reasons why there are none."""

import importlib
from collections.abc import Callable, Collection

import jax

from benchmarks.environment import INSTALL_PEERS, is_here, torch_without_gpu
from benchmarks.training import accuracy, in_jax, task
from benchmarks.training.trainer import Trainer, Training

# By program: the module of its trainer, the function that makes it, and the package it needs
TRAINERS = {
    "manual": ("in_jax", "manual", None),
    "manual_fused": ("in_jax", "manual_fused", None),
    "optax_scan": ("in_jax", "optax_scan", None),
    "control": ("in_jax", "optax_scan", None),
    "manual_loop": ("in_jax", "manual_loop", None),
    "optax_loop": ("in_jax", "optax_loop", None),
    "nnx": ("in_nnx", "functional", "flax"),
    "torch_eager": ("in_torch", "eager", "torch"),
    "torch_graph": ("in_torch", "graph", "torch"),
    "torch_compile": ("in_torch", "compiled", "torch"),
    "sklearn": ("in_sklearn", "partial_fit", "sklearn"),
}
TO_ACCURACY = ("manual", "optax_scan", "control", "torch_eager", "sklearn")

Programs = dict[str, Training | str]  # by name: a program, or the reason why there is none


def absent(names: Collection[str]) -> list[str]:
    """The packages that the named programs need and that cannot be imported."""
    return [package for package in dict.fromkeys(_package(name) for name in names) if package and not is_here(package)]


def steps(sizes: tuple[int, ...], batch_size: int, names: Collection[str], **activations: str) -> Programs:
    """The programs of the part "step": a call takes `task.steps_of_a_call` steps."""
    given = task.synthetic(sizes, batch_size, **activations)

    def program(build: Callable[[task.Task], Trainer]) -> Training:
        # first, because building a trainer of torch drops what torch has compiled
        with jax.enable_x64(True):
            # the kernel has no float64: of its training the costs alone are compared
            exact = (in_jax.manual if build is in_jax.manual_fused else build)(task.in_float64(given))
        return Training(build(given), exact=exact)

    return {name: _program(name, names, program) for name in TRAINERS}


def to_accuracy(names: Collection[str]) -> Programs:
    """The programs of the part "accuracy": a call takes as many epochs as needed."""
    given = task.digits(accuracy.SIZES, accuracy.BATCH_SIZE)

    def program(build: Callable[[task.Task], Trainer]) -> Training:
        return Training(build(given), accuracy.to_accuracy, accuracy.facts)

    return {name: _program(name, names, program) for name in TO_ACCURACY}


def _program(
    name: str, names: Collection[str], program: Callable[[Callable[[task.Task], Trainer]], Training]
) -> Training | str:
    if name not in names:
        return "left out"
    if absent([name]):
        return f"{_package(name)} cannot be imported: {INSTALL_PEERS}"
    if reason := _impossible(name):
        return reason
    module, build, _ = TRAINERS[name]
    return program(getattr(importlib.import_module(f"benchmarks.training.{module}"), build))


def _impossible(name: str) -> str | None:
    """The reason why a program whose package is there cannot run here, if there is one."""
    on_gpu = jax.default_backend() == "gpu"
    if name in ("manual_fused", "torch_graph") and not on_gpu:
        return "it needs a GPU"
    return torch_without_gpu() if _package(name) == "torch" else None


def _package(name: str) -> str | None:
    return TRAINERS[name][2]
