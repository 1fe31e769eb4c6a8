"""The fused kernel against autodiff in float64, and against itself: the same bits each time.

The bounds are those of the step `verification`: the roundings of autodiff in float32 on the CPU, and a margin. Examples
with a ReLU at its kink are replaced before they are given to either. So many are at a kink in TF32 and bfloat16 that
there the error of ReLUs is recorded and not judged.
"""

import functools
import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import manual_bp as bp
from benchmarks import blocked, fused
from benchmarks.gpu.rows import write_rows
from benchmarks.gpu.verification import AT_KINK, PRECISIONS, Precision, allowed
from benchmarks.program import random_problem
from reference import autodiff
from reference.autodiff import Model
from reference.compare import errors

NARROW, WIDE = (64, 64, 64, 64, 64, 10), (784, 128, 10)
CELLS = (
    *((NARROW, m) for m in (65_536, 1, 257, 4_096)),
    *((WIDE, m) for m in (65_536, 257)),
    (NARROW, 1_048_576),
)
BLOCK = 65_536  # of the truth, which would not fit the memory at once


def checks() -> Iterator[dict[str, Any]]:
    if jax.default_backend() != "gpu":
        yield {"not_run": "it needs a GPU"}
        return
    for sizes, m in CELLS:
        for hidden in ("tanh", "relu"):
            for precision in PRECISIONS:
                if precision.dtype == "float64":
                    continue
                name = "-".join(map(str, sizes))
                row = {"network": name, "precision": precision.name, "hidden": hidden, "batch_size": m}
                try:
                    yield row | check(sizes, m, hidden, precision)
                except Exception as error:  # it is one row; the others are worth as much
                    yield row | {"error": f"{type(error).__name__}: {error}"[:500], "ok": False}


def check(sizes: tuple[int, ...], m: int, hidden: str, precision: Precision) -> dict[str, Any]:
    """The leaf whose error takes most of its bound, and whether a second call gives the same bits."""
    args = _arguments(sizes, m, hidden, precision.dtype)
    with jax.default_matmul_precision(precision.products):
        kernel = fused.with_kernel(bp.value_and_grad)(bp.Network(sizes, hidden=hidden))
        if reason := fused.another_way(kernel, *args):
            return {"not_run": reason, "ok": False}
        first, second = (jax.device_get(kernel(*args)) for _ in range(2))
    found, most = errors(first, _truth(sizes, m, hidden, precision.dtype)), _roundings(sizes, m, hidden)
    bounds = {leaf: allowed(most[leaf]) * precision.roundoff for leaf in found}
    leaf = max(found, key=lambda leaf: found[leaf] / bounds[leaf])
    judged = hidden != "relu" or precision.name == "highest"
    right = np.isfinite(found[leaf]) and (not judged or found[leaf] <= bounds[leaf])
    leaves = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    same = all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in leaves)
    row = {"leaf": leaf, "error": found[leaf] if np.isfinite(found[leaf]) else None, "bound": bounds[leaf]}
    return row | {"judged": judged, "same_bits": same, "ok": bool(right and same)}


@functools.lru_cache(maxsize=1)  # it may be large
def _arguments(sizes: tuple[int, ...], m: int, hidden: str, dtype: str) -> tuple[Any, ...]:
    """(params, X, Y); the first example without a ReLU at its kink takes the place of those that have one."""
    problem = random_problem(sizes, m, dtype)
    params = tuple(bp.Layer(W, b + 0.1) for W, b in problem.params)  # a bias along the wrong axis shows only if not 0
    if hidden != "relu":
        return params, problem.X, problem.Y

    @jax.jit
    def at_kink(params: Any, X: Any) -> Any:
        _, Z = autodiff.forward(Model(sizes, hidden), params, X)
        distances = [abs(z) for z in Z[:-1]]
        return sum(jnp.any(z <= AT_KINK * 2**-24 * jnp.max(z), axis=0) for z in distances) > 0

    with jax.default_matmul_precision("highest"):
        away = ~np.asarray(at_kink(*jax.tree.map(lambda x: x.astype(jnp.float32), (params, problem.X))))
    taken = np.where(away, np.arange(m), np.argmax(away))
    return params, problem.X[:, taken], problem.Y[taken]


@functools.cache
def _truth(sizes: tuple[int, ...], m: int, hidden: str, dtype: str) -> Any:
    """The cost and the gradient by autodiff in float64."""
    args = _arguments(sizes, m, hidden, dtype)
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        of = jax.jit(blocked.value_and_grad(Model(sizes, hidden), min(m, BLOCK)))
        return jax.device_get(of(*jax.tree.map(_wide, args)))


@functools.cache
def _roundings(sizes: tuple[int, ...], m: int, hidden: str) -> dict[str, float]:
    """The roundings in each leaf of autodiff in float32 on the CPU."""
    of = jax.jit(jax.value_and_grad(functools.partial(autodiff.cost, Model(sizes, hidden))))
    found = of(*jax.device_put(_arguments(sizes, m, hidden, "float32"), jax.devices("cpu")[0]))
    true = _truth(sizes, m, hidden, "float32")
    return {leaf: error / 2**-24 for leaf, error in errors(found, true).items()}


def _wide(x: Any) -> Any:
    return x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x


if __name__ == "__main__":
    sys.exit(write_rows(checks))
