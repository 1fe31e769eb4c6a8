"""The fused kernel against autodiff in float64, and against itself: the same bits each time."""

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
from benchmarks.program import random_problem
from reference import autodiff
from reference.autodiff import Model
from reference.compare import largest_error

NARROW, WIDE = (64, 64, 64, 64, 64, 10), (784, 128, 10)
CELLS = (
    *((NARROW, m) for m in (65_536, 1, 257, 4_096)),
    *((WIDE, m) for m in (65_536, 257)),
    (NARROW, 1_048_576),
)
BLOCK = 65_536  # of the truth, which would not fit the memory at once
# By name: the dtype, the precision of products of float32, and the error allowed in a leaf, in norm
PRECISIONS = {
    "tf32": ("float32", "default", 1e-3),
    "highest": ("float32", "highest", 1e-5),
    "bfloat16": ("bfloat16", "default", 2e-2),
}


def checks() -> Iterator[dict[str, Any]]:
    if not fused.is_there(bp.value_and_grad) or jax.default_backend() != "gpu":
        yield {"not_run": "it needs a GPU" if fused.is_there(bp.value_and_grad) else fused.ABSENT}
        return
    for sizes, m in CELLS:
        for hidden in ("tanh", "relu"):
            for name in PRECISIONS:
                row = {"network": "-".join(map(str, sizes)), "precision": name, "hidden": hidden, "batch_size": m}
                try:
                    yield row | check(sizes, m, hidden, *PRECISIONS[name])
                except Exception as error:  # it is one row; the others are worth as much
                    yield row | {"error": f"{type(error).__name__}: {error}"[:500], "ok": False}


def check(sizes: tuple[int, ...], m: int, hidden: str, dtype: str, products: str, bound: float) -> dict[str, Any]:
    """The kernel's error and autodiff's in the same precision, and whether a second call gives the same bits.

    The error of ReLUs is recorded and not judged: among so many units some are within rounding of their kink.
    """
    model, problem = Model(sizes, hidden), random_problem(sizes, m, dtype)
    params = tuple(bp.Layer(W, b + 0.1) for W, b in problem.params)  # a bias along the wrong axis shows only if not 0
    args = params, problem.X, problem.Y
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        truth = jax.jit(blocked.value_and_grad(model, min(m, BLOCK)))
        true = jax.device_get(truth(*jax.tree.map(_wide, args)))
    with jax.default_matmul_precision(products):
        kernel = fused.with_kernel(bp.value_and_grad)(bp.Network(sizes, hidden=hidden))
        if reason := fused.another_way(kernel, *args):
            return {"not_run": reason, "ok": False}
        first, second = (jax.device_get(kernel(*args)) for _ in range(2))
        plain = jax.jit(jax.value_and_grad(functools.partial(autodiff.cost, model)))(*args)
    error, own = largest_error(first, true), largest_error(plain, true)
    leaves = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    same = all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in leaves)
    right = np.isfinite(error) and (hidden == "relu" or error <= max(bound, 3 * own))
    row = {"error": error if np.isfinite(error) else None, "autodiff": own, "bound": bound, "same_bits": same}
    return row | {"ok": bool(right and same)}


def _wide(x: Any) -> Any:
    return x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x


if __name__ == "__main__":
    sys.exit(write_rows(checks))
