"""The programs that compute one and the same gradient."""

import dataclasses
import functools
import importlib
import time
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import manual_bp as bp
from benchmarks import blocked
from benchmarks.environment import INSTALL_PEERS, is_here
from benchmarks.problem import Measured, Problem, Program, draw, gradient_by_autodiff
from manual_bp._machine import blocks
from reference import autodiff

PEERS = {"torch_eager": "eager", "torch_compile": "compiled"}


@dataclasses.dataclass(frozen=True, eq=False)
class SharedOut(Program):
    """A function that places its arguments before it calls what is compiled."""

    @functools.cached_property
    def preparation(self) -> dict[str, Any]:
        """The first call, which compiles what there is to compile."""
        start = time.perf_counter()
        jax.block_until_ready(self())
        return {"first_s": round(time.perf_counter() - start, 6)}


def programs(
    sizes: tuple[int, ...], batch_size: int, dtype: str, peers: bool = False, mesh: Mesh | None = None
) -> dict[str, Measured | str]:
    """Each over the same numbers, and returning (cost, gradient), or why there is none.

    To those that are always there come "autodiff_blocks", autodiff from the same blocks as "manual", where that takes
    any, and with `peers` "torch_eager" and "torch_compile". Given a mesh, both "manual" and "autodiff_blocks" use it,
    and "manual_one_device" takes the same blocks without it.
    """
    problem = draw(sizes, batch_size, dtype)
    of_torch = {name: _of_torch(build, problem) for name, build in PEERS.items()} if peers else {}
    on_one = {"manual_one_device": _on_one_device(problem)} if mesh else {}
    return {**always(problem, mesh), "autodiff_blocks": _in_blocks(problem, mesh), **on_one, **of_torch}


def always(problem: Problem, mesh: Mesh | None = None) -> dict[str, Program]:
    """The four that every cell has.

    "manual" is `bp.value_and_grad`. "autodiff" is what a good user writes, examples in columns as the equations have
    them; "autodiff_rows" the same with examples in rows, as most JAX code has them. "control" is a second copy of
    "autodiff", compiled apart: a measurement that tells the two from each other is not to be believed.
    """
    network, model, params, X, Y = problem
    return {
        "manual": (SharedOut if mesh else Program)(bp.value_and_grad(network, mesh=mesh), (params, X, Y)),
        "autodiff": Program(gradient_by_autodiff(autodiff.cost, model), (params, X, Y)),
        "autodiff_rows": Program(gradient_by_autodiff(autodiff.cost_of_rows, model), (params, X.T, Y)),
        "control": Program(gradient_by_autodiff(autodiff.cost, model), (params, X, Y)),
    }


def _block(problem: Problem) -> int:
    return blocks.auto(problem.network.sizes, problem.X.shape[1], problem.X.dtype.itemsize)


def _on_one_device(problem: Problem) -> Program:
    network, _, params, X, Y = problem
    return Program(bp.value_and_grad(network, block_size=_block(problem)), (params, X, Y))


def _in_blocks(problem: Problem, mesh: Mesh | None) -> Program | str:
    _, model, params, X, Y = problem
    m, block = X.shape[1], _block(problem)
    if block == m:
        return "manual takes all examples at once, as autodiff does"
    if mesh is None:
        return Program(jax.jit(blocked.value_and_grad(model, block)), (params, X, Y))
    if m % mesh.size:
        return f"{m:,} examples do not divide by {mesh.size} devices"
    # each array where it is used, before the call
    of_shard = jax.jit(blocked.value_and_grad_over(mesh, model, block))
    specs = P(), P(None, *mesh.axis_names), P(*mesh.axis_names)
    placed = (jax.device_put(x, NamedSharding(mesh, spec)) for x, spec in zip((params, X, Y), specs, strict=True))
    return Program(of_shard, tuple(placed))


def _of_torch(build: str, problem: Problem) -> Measured | str:
    if not is_here("torch"):
        return f"torch cannot be imported: {INSTALL_PEERS}"
    return getattr(importlib.import_module("benchmarks.gradients.in_torch"), build)(problem)


def flops(sizes: tuple[int, ...], batch_size: int) -> int:
    """Floating-point operations in the matrix products of one gradient.

    Z, dA and dW take 2 n_l n_{l-1} for each example and layer; dA[0] is not needed.
    """
    per_layer = [k * n for k, n in zip(sizes[:-1], sizes[1:], strict=True)]
    return batch_size * (6 * sum(per_layer) - 2 * per_layer[0])
