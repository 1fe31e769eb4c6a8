"""Faults that a gradient compiled for a GPU should not have."""

import jax.numpy as jnp
from gpu.gradients import Case
from gpu.h100 import Program
from gpu.reading import Product, added_in_any_order, dtype_name, forms_of_a_cpu, kernels, products, rearrangements

from manual_bp._machine import layout

# XLA lays every array at a multiple of this many bytes, so one program's arrays may leave a gap more
GAP = 256


def faults(case: Case, program: Program, autodiff: Program) -> set[str]:
    """The checks that a gradient does not pass, given that of autodiff."""
    L = len(case.sizes) - 1
    # bfloat16 is summed in float32, and dW and db are scaled and rounded after that; autodiff rounds its sums
    more = 2 * L if case.dtype == "bfloat16" else 0
    # which examples are absent, a byte for each; the sum of the weights, and whether it is zero
    absent = case.m + 2 * GAP if case.weighted else 0
    # a layer has two products, and three if it has one before it; one example needs none
    product = Product((dtype_name(case.dtype),) * 2, case.precision, epilogue="default")
    found = products(program.text)
    if layout.of_pass(case.sizes, jnp.zeros((case.sizes[0], case.m))).in_rows:
        # there the bias lies along the rows in memory, where cuBLAS can add it
        found[product] += found.pop(product._replace(epilogue="bias"), 0)
    checks = {
        "kernels": len(kernels(program.text)) <= len(kernels(autodiff.text)) + more,
        "memory": program.temp_bytes <= autodiff.temp_bytes + absent + GAP,
        "products": found == ({product: 3 * L - 1} if case.m > 1 else {}),
        "order of a sum": not added_in_any_order(program.text),
        "forms of a CPU": not forms_of_a_cpu(program),
        "rearrangements": len(rearrangements(program.text)) <= len(rearrangements(autodiff.text)),
    }
    return {name for name, passed in checks.items() if not passed}
