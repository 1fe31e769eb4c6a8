"""The programs that compute one and the same gradient."""

import importlib

import jax

import manual_bp as bp
from benchmarks import blocked
from benchmarks.environment import INSTALL_PEERS, is_here
from benchmarks.problem import Measured, Problem, Program, draw, gradient_by_autodiff
from manual_bp import _blocks as blocks
from reference import autodiff

PEERS = {"torch_eager": "eager", "torch_compile": "compiled"}


def programs(sizes: tuple[int, ...], batch_size: int, dtype: str, peers: bool = False) -> dict[str, Measured | str]:
    """Each over the same numbers, and returning (cost, gradient), or why there is none.

    To those that are always there come "autodiff_blocks", autodiff from the same blocks as "manual", where that takes
    any, and with `peers` "torch_eager" and "torch_compile".
    """
    problem = draw(sizes, batch_size, dtype)
    of_torch = {name: _of_torch(build, problem) for name, build in PEERS.items()} if peers else {}
    return {**always(problem), "autodiff_blocks": _in_blocks(problem), **of_torch}


def always(problem: Problem) -> dict[str, Program]:
    """The four that every cell has.

    "manual" is `bp.value_and_grad`. "autodiff" is what a good user writes, examples in columns as the equations have
    them; "autodiff_rows" the same with examples in rows, as most JAX code has them. "control" is a second copy of
    "autodiff", compiled apart: a measurement that tells the two from each other is not to be believed.
    """
    network, model, params, X, Y = problem
    return {
        "manual": Program(bp.value_and_grad(network), (params, X, Y)),
        "autodiff": Program(gradient_by_autodiff(autodiff.cost, model), (params, X, Y)),
        "autodiff_rows": Program(gradient_by_autodiff(autodiff.cost_of_rows, model), (params, X.T, Y)),
        "control": Program(gradient_by_autodiff(autodiff.cost, model), (params, X, Y)),
    }


def _in_blocks(problem: Problem) -> Program | str:
    block = blocks.chosen("auto", problem.network, problem.X)
    if block == problem.X.shape[1]:
        return "manual takes all examples at once, as autodiff does"
    return Program(jax.jit(blocked.value_and_grad(problem.model, block)), (problem.params, problem.X, problem.Y))


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
