"""The fused kernel in the program that XLA makes of it for an H100."""

import jax
import pytest
from gpu.gradients import by_autodiff
from gpu.h100 import DEVICE
from gpu.kernels import CASES, by_kernel
from gpu.reading import Product, added_in_any_order, dtype_name, kernels, products, rearrangements

from manual_bp._kernel import chips, launch


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_kernel_in_a_program(case):
    """The kernel once; fewer kernels and less memory than autodiff; products of wide inputs alone, as asked for."""
    program, autodiff = by_kernel(case), by_autodiff(case)
    assert sum(kernel.op == "custom-call" for kernel in kernels(program.text)) == 1
    product = Product((dtype_name(case.dtype),) * 2, case.precision, epilogue="default")
    assert products(program.text) == ({product: 2} if case.sizes[0] > 128 else {})
    assert len(kernels(program.text)) < len(kernels(autodiff.text))
    assert program.temp_bytes <= autodiff.temp_bytes
    assert not added_in_any_order(program.text)
    assert len(rearrangements(program.text)) <= len(rearrangements(autodiff.text))


def test_whether_jax_has_the_call(monkeypatch):
    """It is asked while JAX traces, for a mesh of other devices too."""
    found = []
    with jax.set_mesh(jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))):
        jax.jit(lambda x: found.append(chips.runs_ptx(DEVICE)) or x)(1.0)
    monkeypatch.setattr(launch, "TARGET", "__gpu$xla.gpu.none")
    assert [*found, chips.runs_ptx(DEVICE)] == [True, False]
