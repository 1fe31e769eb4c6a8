"""The cross-check of `reference`, each gradient on the device against autodiff in float64 on the CPU.

A unit within rounding of a kink may be on one side of it on the device and on the other in float64. Then the gradients
differ by far more than rounding, and neither is wrong. A draw with such a unit is counted and not judged. Where a sum
cancels so far that autodiff on the device misses the bound too, three times autodiff's own error is allowed.
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
    rounding: float  # the distance from a kink, relative to the largest input, that rounding may bridge
    bound: float  # the error allowed in a leaf, in norm


PRECISIONS = (
    Precision("highest", "float32", "highest", 8 * 2**-23, 1e-5),
    Precision("float64", "float64", "highest", 8 * 2**-52, 1e-12),
    Precision("tf32", "float32", "default", 8 * 2**-10, 1e-2),
    Precision("bfloat16", "bfloat16", "default", 8 * 2**-7, 5e-2),
)


def cross_check() -> Iterator[dict[str, Any]]:
    """A row for each problem in each precision. Compiling takes most of the time, so several are compiled at once."""
    on_gpu = jax.default_backend() == "gpu"
    precisions = [precision for precision in PRECISIONS if on_gpu or precision.name != "tf32"]
    pairs = [(precision, problem) for precision in precisions for problem in (PROBLEMS if on_gpu else PROBLEMS[:1])]
    with ThreadPoolExecutor(min(16, environment.cores())) as pool:
        yield from pool.map(lambda pair: check(*pair), pairs)


def check(precision: Precision, problem: Problem, seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """The largest error over draws, with and without weights, and the units that keep draws from being judged."""
    judged, own, at_kinks = [], [], 0
    with jax.enable_x64(True), jax.default_matmul_precision(precision.products):
        for seed in seeds:
            data = jax.tree.map(functools.partial(_narrow, dtype=precision.dtype), draw(problem, seed))
            args = _arguments(problem, data, precision.dtype)
            found, by_autodiff = dict(_by_hand(problem)(*args)), dict(_by_autodiff(problem)(*args))
            true = _truth(problem, data)
            kinks = true.pop("kinks")
            for of, errors_of in ((found, judged), (by_autodiff, own)):
                crossed = _crossed(of.pop("kinks"), kinks, precision.rounding)
                at_kinks += crossed if of is found else 0
                errors_of += [] if crossed else [errors(of, true)]
    largest = [{leaf: max(e[leaf] for e in of) for leaf in of[0]} if of else {} for of in (judged, own)]
    found, own = largest
    wrong = [leaf for leaf, e in found.items() if not e <= max(precision.bound, 3 * own.get(leaf, 0.0))]
    return {
        "precision": precision.name,
        "case": problem.name,
        "error": _finite(found),
        "autodiff": _finite(own),
        "bound": precision.bound,
        "judged": len(judged),
        "units_at_kinks": at_kinks,
        "wrong": wrong,
        "ok": not wrong,
    }


def _finite(errors: dict[str, float]) -> float | None:
    """The largest error; None if it is not finite, or if there is none."""
    largest = max(errors.values(), default=np.inf)
    return float(largest) if np.isfinite(largest) else None


def _narrow(x: Any, dtype: str) -> Any:
    """The nearest numbers of the dtype, in float64; classes as they are."""
    return x if np.issubdtype(x.dtype, np.integer) else x.astype(jnp.dtype(dtype)).astype(np.float64)


def _crossed(found: list[Any], true: list[Any], rounding: float) -> int:
    """The number of units on the other side of a kink, if all of them are within rounding of it; else 0."""
    crossed = 0
    for a, b in zip(found, true, strict=True):
        b = np.asarray(b, np.float64)
        other = (np.asarray(a, np.float64) > 0) != (b > 0)
        if np.any(np.abs(b[other]) > rounding * np.max(np.abs(b))):
            return 0
        crossed += int(np.sum(other))
    return crossed


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


def _truth(problem: Problem, data: Data) -> dict[str, Any]:
    with jax.default_device(jax.devices("cpu")[0]):
        return dict(_by_autodiff(problem)(*_arguments(problem, data, "float64")))


@functools.cache
def _by_autodiff(problem: Problem) -> Any:
    model = problem.model

    @jax.jit
    def by_autodiff(params: Any, X: Any, Y: Any, weights: Any) -> dict[str, Any]:
        of = jax.value_and_grad(functools.partial(autodiff.cost, model))
        A, Z = autodiff.forward(model, params, X)
        gradients = {"mean": of(params, X, Y), "weighted": of(params, X, Y, weights)}
        return gradients | {"kinks": _kinks(problem, Z, A[-1], Y)}

    return by_autodiff


def _kinks(problem: Problem, Z: list[Any], A_L: Any, Y: Any) -> list[Any]:
    """The values at whose 0 a derivative jumps: inputs of ReLUs, and differences under the absolute error."""
    kinks = [z for z, g in zip(Z, problem.model.activations, strict=True) if g in ("relu", "leaky_relu")]
    return kinks + ([A_L - Y] if problem.model.cost == "absolute_error" else [])


if __name__ == "__main__":
    sys.exit(write_rows(cross_check))
