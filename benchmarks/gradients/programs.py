"""The programs that compute one and the same gradient."""

import functools
import importlib
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import manual_bp as bp
from benchmarks import blocked, fused
from benchmarks.environment import INSTALL_PEERS, is_here, torch_without_gpu
from benchmarks.program import Compiled, Problem, Program, autodiff_gradient, first_call, random_problem
from manual_bp._machine import blocks
from manual_bp._machine.sharding import is_spread
from reference import autodiff

PEERS = {"torch_eager": "eager", "torch_compile": "compiled"}  # functions of in_torch


class Placing(Compiled):
    """A program that places its arguments on devices before it calls a compiled function."""

    @functools.cached_property
    def preparation(self) -> dict[str, Any]:
        """The time of the first call, which compiles."""
        return first_call(self)[0]


class InARow(Compiled):
    """A program whose call makes several calls of another, and gives the result of the last, to be waited for once."""

    def __init__(self, program: Compiled, calls: int) -> None:
        super().__init__(program.function, program.args)
        self.program, self.calls = program, calls

    @functools.cached_property
    def preparation(self) -> dict[str, Any]:
        return self.program.preparation | {"calls": self.calls}

    def __call__(self) -> Any:
        for _ in range(self.calls - 1):
            self.program()
        return self.program()


def of_cell(
    sizes: tuple[int, ...],
    batch_size: int,
    dtype: str,
    peers: bool = False,
    mesh: Mesh | None = None,
    block_size: int | None = None,
    calls: int = 1,
    **activations: str,
) -> dict[str, Program | str]:
    """All programs of a cell, or the reasons why there are none. They take the same numbers and give (cost, gradient).

    In addition to the programs of `basic` there are "autodiff_blocks", autodiff in the same blocks as "manual" if that
    takes any, and with `peers` "torch_eager" and "torch_compile". With a mesh, "manual" and "autodiff_blocks" use it,
    and "manual_one_device" takes the same blocks without it. On a GPU there is "fused", the gradient in one kernel.
    "manual" takes `block_size` examples at a time if that is given, and a program makes as many `calls` in a row.
    """
    problem = random_problem(sizes, batch_size, dtype, **activations)
    of_torch = {name: _of_torch(build, problem) for name, build in PEERS.items()} if peers else {}
    on_one = {"manual_one_device": _on_one_device(problem)} if mesh else {}
    in_blocks = {"autodiff_blocks": _in_blocks(problem, mesh, block_size)}
    on_gpu = {"fused": fused.gradient(problem)} if jax.default_backend() == "gpu" else {}
    made = {**basic(problem, mesh, block_size), **in_blocks, **on_one, **on_gpu, **of_torch}
    if calls == 1:
        return made
    return {n: InARow(p, calls) if isinstance(p, Compiled) else p for n, p in made.items()}


def basic(problem: Problem, mesh: Mesh | None = None, block_size: int | None = None) -> dict[str, Compiled]:
    """The four programs that every cell has.

    "manual" is `bp.value_and_grad`. "autodiff" is what a good user writes, examples in columns as the equations have
    them, and "autodiff_rows" the same with examples in rows, as most JAX code has them. "control" is a second copy of
    "autodiff", compiled separately: if a measurement tells the two apart, it cannot be trusted.
    """
    network, model, params, X, Y = problem
    return {
        "manual": (Placing if mesh else Compiled)(
            bp.value_and_grad(network, block_size=block_size or "auto", mesh=mesh), problem.args
        ),
        "autodiff": Compiled(autodiff_gradient(autodiff.cost, model), problem.args),
        "autodiff_rows": Compiled(autodiff_gradient(autodiff.cost_of_rows, model), (params, X.T, Y.T)),
        "control": Compiled(autodiff_gradient(autodiff.cost, model), problem.args),
    }


def flops(sizes: tuple[int, ...], batch_size: int) -> int:
    """Floating-point operations in the matrix products of one gradient.

    Z, dA and dW take 2 n_l n_{l-1} for each example and layer; dA[0] is not needed.
    """
    per_layer = [k * n for k, n in zip(sizes[:-1], sizes[1:], strict=True)]
    return batch_size * (6 * sum(per_layer) - 2 * per_layer[0])


def _block(problem: Problem) -> int:
    cell = problem.X.shape, problem.network.kept, problem.X.dtype.itemsize
    if jax.default_backend() == "cpu":
        return blocks.auto(*cell)
    return problem.X.shape[1] if is_spread(problem.X, "gpu") else blocks.auto_on_gpu(*cell)


def _on_one_device(problem: Problem) -> Compiled:
    return Compiled(bp.value_and_grad(problem.network, block_size=_block(problem)), problem.args)


def _in_blocks(problem: Problem, mesh: Mesh | None, block_size: int | None) -> Compiled | str:
    m, block = problem.X.shape[1], block_size or _block(problem)
    if block >= m:
        return "manual takes all examples at once, as autodiff does"
    if mesh is None:
        return Compiled(jax.jit(blocked.value_and_grad(problem.model, block)), problem.args)
    if m % mesh.size:
        return f"{m:,} examples do not divide by {mesh.size} devices"
    of_shard = jax.jit(blocked.value_and_grad_over(mesh, problem.model, block))
    # the arrays are placed where they are used, before the timed call
    specs = P(), P(None, *mesh.axis_names), P(*mesh.axis_names)
    placed = (jax.device_put(x, NamedSharding(mesh, spec)) for x, spec in zip(problem.args, specs, strict=True))
    return Compiled(of_shard, tuple(placed))


def _of_torch(build: str, problem: Problem) -> Program | str:
    if not is_here("torch"):
        return f"torch cannot be imported: {INSTALL_PEERS}"
    if reason := torch_without_gpu():
        return reason
    return getattr(importlib.import_module("benchmarks.gradients.in_torch"), build)(problem)
