"""The cross-check of `reference`, each gradient on the device against autodiff in float64 on the CPU.

To first order, errors are proportional to the unit roundoff. So the error of autodiff in float32 on the CPU, in
roundoffs, says how many of them a leaf of a problem may have in each precision, but for a margin. Nothing that the
device computes widens that bound.

A unit within rounding of a kink may be on one side of it on the device and on the other in float64. Then the gradients
differ by far more than rounding, and neither is wrong. Such units are counted, and the truth has them on the device's
side, moved there by no more than rounding.
"""

import functools
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import manual_bp as bp
from benchmarks import environment
from benchmarks.gpu.rows import write_rows
from reference import autodiff
from reference.compare import errors
from reference.grid import PROBLEMS, SEEDS, Data, Problem, draw


class Precision(NamedTuple):
    name: str
    dtype: str
    products: str  # the precision of products of float32
    roundoff: float


PRECISIONS = (
    Precision("highest", "float32", "highest", 2**-24),
    Precision("float64", "float64", "highest", 2**-51),  # the truth has roundings of its own
    Precision("tf32", "float32", "default", 2**-11),
    Precision("bfloat16", "bfloat16", "default", 2**-8),
)
MARGIN = 4  # the bound over the error of autodiff: errors are sums of roundings, and few draws show them
LEAST = 2  # roundings that any leaf may have, where those of autodiff happened to cancel
KINKED = ("relu", "leaky_relu")
AT_KINK = 16  # the distance from a kink, in roundings of the largest input, that rounding may bridge


def cross_check() -> Iterator[dict[str, Any]]:
    """A row for each problem in each precision. Compiling takes most of the time, so several are compiled at once."""
    on_gpu = jax.default_backend() == "gpu"
    precisions = [precision for precision in PRECISIONS if on_gpu or precision.name != "tf32"]
    pairs = [(precision, problem) for precision in precisions for problem in (PROBLEMS if on_gpu else PROBLEMS[:1])]
    with ThreadPoolExecutor(min(16, environment.cores())) as pool:
        yield from pool.map(lambda pair: check(*pair), pairs)


def check(precision: Precision, problem: Problem, seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """The leaf whose error, over draws with and without weights, takes most of its bound; and the units at kinks."""
    with jax.enable_x64(True), jax.default_matmul_precision(precision.products):
        roundings, at_kinks = _roundings(_by_hand(problem), problem, precision.dtype, precision.roundoff, seeds)
        of_autodiff, _ = _amplification(problem)
    taken = {leaf: found / allowed(of_autodiff[leaf]) for leaf, found in roundings.items()}
    leaf = max(taken, key=lambda leaf: taken[leaf])
    error, wrong = roundings[leaf] * precision.roundoff, [leaf for leaf, part in taken.items() if not part <= 1]
    return {
        "precision": precision.name,
        "case": problem.name,
        "leaf": leaf,
        "error": error if np.isfinite(error) else None,
        "bound": allowed(of_autodiff[leaf]) * precision.roundoff,
        "units_at_kinks": at_kinks,
        "wrong": wrong,
        "ok": not wrong,
    }


def allowed(roundings: float) -> float:
    """The roundings that a leaf may have, from those of autodiff in float32 on the CPU."""
    return MARGIN * max(roundings, LEAST)


def _roundings(
    gradients: Any, problem: Problem, dtype: str, roundoff: float, seeds: Sequence[int]
) -> tuple[dict[str, float], int]:
    """The largest error of each leaf over the draws, over the roundoff; and the number of units at kinks."""
    largest, at_kinks = {}, 0
    for seed in seeds:
        data = jax.tree.map(functools.partial(_narrow, dtype=dtype), draw(problem, seed))
        found = dict(gradients(*_arguments(problem, data, dtype)))
        true, moved = _truth(problem, data, found.pop("kinks"), AT_KINK * roundoff)
        at_kinks += moved
        for leaf, error in errors(found, true).items():
            largest[leaf] = max(largest.get(leaf, 0.0), error / roundoff)
    return largest, at_kinks


@functools.cache
def _amplification(problem: Problem) -> tuple[dict[str, float], int]:
    """The roundings in each leaf of autodiff in float32 on the CPU."""
    with jax.default_device(jax.devices("cpu")[0]):
        return _roundings(_by_autodiff(problem), problem, "float32", 2**-24, SEEDS)


def _narrow(x: Any, dtype: str) -> Any:
    """The nearest numbers of the dtype, in float64; classes as they are."""
    return x if np.issubdtype(x.dtype, np.integer) else x.astype(jnp.dtype(dtype)).astype(np.float64)


def _moved(true: Any, found: Any, most: float) -> np.ndarray:
    """The shifts of numbers to the side of 0 where they were found, if `most` times the largest bridges that."""
    true, side = np.asarray(true, np.float64), np.sign(np.asarray(found, np.float64))
    largest = np.max(np.abs(true))
    crossed = (side != np.sign(true)) & (np.abs(true) <= most * largest)
    return np.where(crossed, side * 1e-14 * largest - true, 0)


def _arguments(problem: Problem, data: Data, dtype: str) -> tuple[Any, ...]:
    params = tuple(bp.Layer(jnp.asarray(W, dtype), jnp.asarray(b, dtype)) for W, b in data.params)
    Y = jnp.asarray(data.Y, jnp.int32 if problem.targets == "indices" else dtype)
    return params, jnp.asarray(data.X, dtype), Y, jnp.asarray(data.weights, dtype)


@functools.cache
def _by_hand(problem: Problem) -> Any:
    network = bp.Network(*problem.model)

    @jax.jit
    def by_hand(params: Any, X: Any, Y: Any, weights: Any) -> dict[str, Any]:
        record, of = bp.backpropagate(network, params, X, Y), bp.value_and_grad(network)
        gradients = {"mean": of(params, X, Y), "weighted": of(params, X, Y, weights)}
        return gradients | {"kinks": _kinks(problem, record.Z[1:], record.A[-1], Y)}

    return by_hand


def _truth(problem: Problem, data: Data, kinks: list[Any], most: float) -> tuple[dict[str, Any], int]:
    """The gradients in float64, and the number of units that were moved to the side of a kink where they were found."""
    model, found = problem.model, iter(kinks)
    with jax.default_device(jax.devices("cpu")[0]):
        params, X, Y, weights = _arguments(problem, data, "float64")
        moved: list[Any] = [np.zeros((n, problem.m)) for n in model.sizes[1:]]
        for l, g in enumerate(model.activations):
            if g in KINKED:
                moved[l] = _moved(autodiff.forward(model, params, X, zeros_Z=moved)[1][l], next(found), most)
        number = sum(np.count_nonzero(shift) for shift in moved)
        if model.cost == "absolute_error":
            shift = _moved(autodiff.forward(model, params, X, zeros_Z=moved)[0][-1] - Y, next(found), most)
            Y, number = Y - shift, number + np.count_nonzero(shift)
        true = dict(_by_autodiff(problem)(params, X, Y, weights, moved))
        true.pop("kinks")
        return true, int(number)


@functools.cache
def _by_autodiff(problem: Problem) -> Any:
    model = problem.model

    def cost(params: Any, X: Any, Y: Any, weights: Any, moved: Any) -> Any:
        losses = autodiff.losses(model, autodiff.forward(model, params, X, zeros_Z=moved)[1][-1], Y)
        return jnp.mean(losses) if weights is None else jnp.sum(weights * losses) / jnp.sum(weights)

    @jax.jit
    def by_autodiff(params: Any, X: Any, Y: Any, weights: Any, moved: Any = None) -> dict[str, Any]:
        of = jax.value_and_grad(cost)
        A, Z = autodiff.forward(model, params, X)
        gradients = {"mean": of(params, X, Y, None, moved), "weighted": of(params, X, Y, weights, moved)}
        return gradients | {"kinks": _kinks(problem, Z, A[-1], Y)}

    return by_autodiff


def _kinks(problem: Problem, Z: list[Any], A_L: Any, Y: Any) -> list[Any]:
    """The values at whose 0 a derivative jumps: inputs of ReLUs, and differences under the absolute error."""
    kinks = [z for z, g in zip(Z, problem.model.activations, strict=True) if g in KINKED]
    return kinks + ([A_L - Y] if problem.model.cost == "absolute_error" else [])


if __name__ == "__main__":
    sys.exit(write_rows(cross_check))
