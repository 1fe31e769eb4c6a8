"""The limits of the machine: the rates of products in each precision, and of a copy."""

import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import environment
from benchmarks.gpu.rows import write_rows


def limits() -> Iterator[dict[str, Any]]:
    on_gpu = jax.default_backend() == "gpu"
    for dtype, precision in (("float32", "default"), ("float32", "highest"), ("bfloat16", "default")):
        with jax.default_matmul_precision(precision):
            rounding = "tf32" if environment.is_tf32(dtype) else dtype
            rate = environment.matmul_flops(dtype, 8192 if on_gpu else 256)
        yield {"limit": f"product, {rounding}", "dtype": dtype, "precision": precision, "flops_per_s": rate}
    x = jnp.ones(2**28 if on_gpu else 2**20, jnp.float32)
    seconds = environment.fastest(jax.jit(lambda x: x + 1), x)
    yield {"limit": "copy", "bytes": x.nbytes, "bytes_per_s": 2 * x.nbytes / seconds}


if __name__ == "__main__":
    sys.exit(write_rows(limits))
