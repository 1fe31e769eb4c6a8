"""The quantities, by the names of their functions in manual_bp, and the programs that compute them.

"clipped_gradients_written_out" is "clipped_gradients" against a baseline that writes the examples' gradients out.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import manual_bp as bp
from benchmarks.program import Compiled, Problem, autodiff_gradient, random_problem
from benchmarks.quantities import baselines
from reference import autodiff


class Quantity(NamedTuple):
    """One quantity, by hand and by autodiff."""

    manual: Callable[[bp.Network], Callable[..., Any]]  # network -> (params, X, Y, *V) -> quantity
    autodiff: Callable[..., Any]  # (model, params, X, Y, *V) -> quantity
    least: int = 1  # the fewest examples
    of_vector: bool = False  # whether it takes a vector V


def _of_record(quantity: Callable[..., Any]) -> Callable[[bp.Network], Callable[..., Any]]:
    """The backward pass and the quantity in one program, so that unused parts of the record are not kept."""
    return lambda network: lambda params, X, Y, *V: quantity(bp.backpropagate(network, params, X, Y), *V)


_CLIPPED = _of_record(lambda record: bp.clipped_gradients(record, baselines.MAX_NORM))

QUANTITIES = {
    "per_example_norms": Quantity(_of_record(bp.per_example_norms), baselines.per_example_norms),
    "clipped_gradients": Quantity(_CLIPPED, baselines.clipped_gradients),
    "clipped_gradients_written_out": Quantity(_CLIPPED, baselines.clipped_gradients_written_out),
    "second_moment": Quantity(_of_record(bp.second_moment), baselines.second_moment),
    "variance": Quantity(_of_record(bp.variance), baselines.variance, least=2),
    "noise_scale": Quantity(_of_record(bp.noise_scale), baselines.noise_scale, least=2),
    "gram_matrix": Quantity(_of_record(bp.gram_matrix), baselines.gram_matrix),
    "output_gradient": Quantity(_of_record(lambda record: bp.output_gradient(record, 0)), baselines.output_gradient),
    "hessian_product": Quantity(_of_record(bp.hessian_product), baselines.hessian_product, of_vector=True),
    "gauss_newton_product": Quantity(
        _of_record(bp.gauss_newton_product), baselines.gauss_newton_product, of_vector=True
    ),
    "gauss_newton_diagonal": Quantity(_of_record(bp.gauss_newton_diagonal), baselines.gauss_newton_diagonal),
    "kfac_exact": Quantity(_of_record(bp.kfac_factors), baselines.kfac_exact),
    "kfac_empirical": Quantity(
        _of_record(lambda record: bp.kfac_factors(record, "empirical")), baselines.kfac_empirical
    ),
    "accumulated_gradients": Quantity(
        lambda network: bp.accumulate(bp.gradients, network, baselines.BLOCK),
        baselines.accumulated_gradients,
        least=baselines.BLOCK + 1,
    ),
}


def of_cell(name: str, sizes: tuple[int, ...], batch_size: int, dtype: str) -> dict[str, Compiled]:
    """The programs of a cell, which all take the same numbers.

    "manual" is the backward pass and the quantity in one jit, "autodiff" the same quantity by autodiff. "gradient" is
    the plain gradient by autodiff, and "control" a second copy of it, compiled separately.
    """
    quantity = QUANTITIES[name]
    problem, plain = _plain(sizes, batch_size, dtype)
    args = problem.args
    if quantity.of_vector:
        rng = np.random.default_rng(1)
        args += (jax.tree.map(lambda p: jnp.asarray(rng.standard_normal(p.shape), p.dtype), problem.params),)
    return {
        "manual": Compiled(jax.jit(quantity.manual(problem.network)), args),
        "autodiff": Compiled(jax.jit(functools.partial(quantity.autodiff, problem.model)), args),
        **plain,
    }


@functools.lru_cache(maxsize=1)
def _plain(sizes: tuple[int, ...], batch_size: int, dtype: str) -> tuple[Problem, dict[str, Compiled]]:
    """The problem and the plain gradients, shared by the quantities of one network and batch size."""
    problem = random_problem(sizes, batch_size, dtype)
    gradients = (Compiled(autodiff_gradient(autodiff.cost, problem.model), problem.args) for _ in range(2))
    return problem, dict(zip(("gradient", "control"), gradients, strict=True))
