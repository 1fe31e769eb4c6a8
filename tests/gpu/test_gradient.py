"""The gradient as it is compiled for an H100: no more kernels and memory than autodiff, and nothing unasked for."""

import pytest
from gpu.gradients import CASES, by_autodiff, by_hand
from gpu.reading import Product, added_in_any_order, dtype_name, forms_of_a_cpu, kernels, products, rearrangements

# XLA lays every array at a multiple of this many bytes, so one program's arrays may leave a gap more
GAP = 256


@pytest.mark.parametrize("cublas", [False, True], ids=["Triton", "cuBLAS"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_gradient(case, cublas):
    manual, autodiff = by_hand(case, cublas), by_autodiff(case, cublas)
    L = len(case.sizes) - 1
    # bfloat16 is summed in float32, and dW and db are scaled and rounded after that; autodiff rounds its sums
    more = 2 * L if case.dtype == "bfloat16" else 0
    assert len(kernels(manual.text)) <= len(kernels(autodiff.text)) + more
    # which examples are absent: a byte for each, kept for the backward pass
    absent = case.m if case.weighted else 0
    assert manual.temp_bytes <= autodiff.temp_bytes + absent + GAP
    # a layer has two products, and three if it has one before it; one example needs none
    product = Product((dtype_name(case.dtype),) * 2, case.precision, "default")
    assert products(manual.text) == ({product: 3 * L - 1} if case.m > 1 else {})
    assert not added_in_any_order(manual.text)
    assert not forms_of_a_cpu(manual)
    assert len(rearrangements(manual.text)) <= len(rearrangements(autodiff.text))
