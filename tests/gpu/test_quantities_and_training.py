"""The record with every quantity, and an epoch of training, as they are compiled for an H100."""

import re
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
import pytest
from gpu import page
from gpu.faults import GAP
from gpu.gradients import CASES, NARROW, WIDE, Case, arguments, autodiff_gradient
from gpu.h100 import Program, compiled, steps
from gpu.kernels import CASES as fused_cases
from gpu.reading import added_in_any_order, dtype_name, forms_of_a_cpu, graphs, kernels, products, rearrangements

import manual_bp as bp
from manual_bp._machine import layout
from manual_bp._training import objective

on_networks = pytest.mark.parametrize(
    ("sizes", "dtype", "precision"),
    [
        (NARROW, "float32", "default"),
        (NARROW, "float32", "highest"),
        (NARROW, "bfloat16", "default"),
        (NARROW, "float64", "default"),
        (WIDE, "float32", "default"),
    ],
    ids=["TF32", "highest", "bfloat16", "float64", "wide"],
)


def every_quantity(network: bp.Network):
    """All that the library computes from a record, in one program."""

    @jax.jit
    def compute(params, X, Y, weights):
        record = bp.backpropagate(network, params, X, Y, weights)
        of_record = [
            bp.gradients, bp.per_example_gradients, bp.per_example_norms, bp.per_example_layer_norms, bp.gram_matrix,
            bp.second_moment, bp.variance, bp.signal_to_noise, bp.noise_scale,
            bp.gauss_newton_diagonal, bp.kfac_factors,
        ]  # fmt: skip
        of_vectors = [bp.hessian_product, bp.gauss_newton_product]
        return (
            record,
            [quantity(record) for quantity in of_record],
            [quantity(record, params) for quantity in of_vectors],
            bp.clipped_gradients(record, 1.0),
            bp.kfac_factors(record, "empirical"),
            bp.output_gradient(record, 0),
        )

    return compute


def check(program: Program, dtype: str, precision: str, in_rows: bool = False) -> None:
    """Nothing unasked for: products of the dtype, or of float32 where bfloat16 is summed, at the precision.

    From rows, cuBLAS may add the bias.
    """
    dtypes = {dtype_name(dtype), dtype_name("float32")} if dtype == "bfloat16" else {dtype_name(dtype)}
    found = products(program.text)
    assert found and {x for product in found for x in product.factors} <= dtypes
    allowed = {(precision, "default"), (precision, "bias")} if in_rows else {(precision, "default")}
    assert {(product.precision, product.epilogue) for product in found} <= allowed
    assert not added_in_any_order(program.text)
    assert not forms_of_a_cpu(program)


@on_networks
def test_every_quantity(sizes, dtype, precision):
    case = Case(sizes, 200, dtype, precision, weighted=True)
    program = compiled(every_quantity(bp.Network(sizes)), *arguments(case), precision=precision, cublas=True)
    check(program, dtype, precision)


def epoch(sizes, dtype: str) -> tuple[Any, ...]:
    """A new epoch, and the shapes of its arguments."""
    network, optimizer = bp.Network(sizes), optax.sgd(0.1)
    state = jax.eval_shape(lambda key: bp.train_state(network, optimizer, key, dtype=dtype), jax.random.key(0))
    examples = [((10_000, sizes[0]), dtype), ((10_000,), "int32")]
    X, Y = (cast(Any, jax.ShapeDtypeStruct(shape, jnp.dtype(kind))) for shape, kind in examples)
    return bp.train_epoch(network, optimizer, 128), state, bp.Dataset(X, Y)


def by_autodiff(network, params, X, Y, weights, *_):
    return autodiff_gradient(network.sizes)(params, X, Y, weights[0])


@on_networks
def test_epoch(sizes, dtype, precision, monkeypatch):
    manual = compiled(*epoch(sizes, dtype), precision=precision, cublas=True)
    check(manual, dtype, precision, layout.of_pass(sizes, jnp.zeros((sizes[0], 128)), X_in_rows=True).in_rows)
    # the same epoch with the gradient of autodiff
    monkeypatch.setattr(objective, "cost_and_gradient", by_autodiff)
    autodiff = compiled(*epoch(sizes, dtype), precision=precision, cublas=True)
    assert added_in_any_order(autodiff.text)
    assert len(kernels(manual.text)) <= len(kernels(autodiff.text))
    # the step is in it twice, the second time to undo one that is not finite; bfloat16's db are summed in float32
    gaps = 2 + (len(sizes) - 1 if dtype == "bfloat16" else 0)
    assert manual.temp_bytes <= autodiff.temp_bytes + 2 * gaps * GAP
    assert len(rearrangements(manual.text)) <= len(rearrangements(autodiff.text))


def test_graphs():
    """A gradient is one CUDA graph, and so is each step of an epoch."""
    case = Case(NARROW, 200)
    assert graphs(steps(bp.value_and_grad(bp.Network(NARROW)), *arguments(case))) == (1, 0)
    text = "\n".join(steps(*epoch(NARROW, "float32")))
    bodies = re.findall(r"body:\n +000: (\w+) +\[(.*)\]", text)
    # the first loop takes the steps; the second, where one was not finite, repeats some in a loop of its own
    assert [kind for kind, _ in bodies] == ["kCommandBuffer"] * 3 and bodies[0][1] == bodies[2][1] == "source | sink"


def test_page_has_a_row_for_each_gradient():
    names = re.findall(r"^\| ([\d-]+ [\d,]+ \w+\d+[^|]*) \|", page.PAGE.read_text(), re.M)
    assert names == [case.name for case in [*CASES, *fused_cases]]
