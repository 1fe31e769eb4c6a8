"""The kernel's text, run on the CPU, against autodiff in float64."""

import dataclasses
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from emulated_kernel import library, value_and_grad, written
from kernel_problems import BOUNDS, CORNERS, OUTPUTS, WIDTHS, drawn, errors, form_of

import manual_bp as bp
from manual_bp._kernel.packing import pack
from reference import autodiff
from reference.autodiff import Model
from reference.compare import largest_error


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("name, tile", [(name, 64) for name in WIDTHS] + [("64 wide", 32)])
def test_widths_and_precisions(name, tile, precision):
    model, _, _, targets, weighted = WIDTHS[name]
    form = dataclasses.replace(form_of(model, precision, targets, weighted), tile=tile)
    error, rows = errors(form, WIDTHS[name])
    assert error <= BOUNDS[precision]
    # the same bits whatever the order of the threads
    for seed in (1, 2):
        np.testing.assert_array_equal(rows, errors(form, WIDTHS[name], seed=seed)[1])
    assert library(form).shared_bytes() == form.shared_bytes and library(form).row_size() == form.row_size


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_and_costs(name):
    model, _, _, targets, weighted = OUTPUTS[name]
    error, _ = errors(form_of(model, "FLOAT32", targets, weighted), OUTPUTS[name])
    assert error <= BOUNDS["FLOAT32"]


# (the line as it is, the line made wrong)
ADD_UP = {
    "a factor cut off": ("(as_bits(x) + 0x1000u) & 0xffffe000u", "as_bits(x) & 0xffffe000u"),
    "a long sum cut off": (
        "mma_tf32(term, a.small, b.big), mma_tf32(term, a.big, b.small), mma_tf32(term, a.big, b.big);",
        "mma_tf32(c, a.small, b.big), mma_tf32(c, a.big, b.small), mma_tf32(c, a.big, b.big);",
    ),
}


def test_rounding_errors_do_not_add_up():
    """With numbers of 24 bits and many examples, products of three terms are as accurate as float32."""
    model, m = Model((33, 64, 64, 10), "tanh"), 1024
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return rng.normal(size=shape).astype(np.float32)

    params = tuple(bp.Layer(normal(n, k) / k**0.5, normal(n, 1)) for k, n in itertools.pairwise(model.sizes))
    X, Y = normal(33, m), rng.integers(10, size=m)
    form = form_of(model, "FLOAT32", "indices", False)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), (params, X))
        true = jax.value_and_grad(functools.partial(autodiff.cost, model))(*wide, jnp.asarray(Y))

    def error(change: tuple[str, str] | tuple[()] = ()) -> float:
        (rows,) = written(form, pack(form, params), X, Y, change=change)
        return largest_error(value_and_grad(form, rows), true)

    assert error() < 5e-7
    assert all(error(change) > 8e-7 for change in ADD_UP.values())


@pytest.mark.parametrize("name", CORNERS)
def test_corners(name):
    model, m, _, targets, weighted = CORNERS[name]
    params, X, Y, *_ = drawn(model, m, targets, weighted, 2)
    A, Z = autodiff.forward(model, params, jnp.asarray(X))
    from_corner = [np.abs(np.asarray(z)) for z in (*Z, A[-1] - Y)]
    assert all((distance == 0).any() for distance in from_corner)
    # none so near to its corner that the split form could round it to the other side
    assert min(distance[distance > 0].min() for distance in from_corner) > 1e-5
    error, _ = errors(form_of(model, "FLOAT32", targets, weighted), CORNERS[name], parts=2)
    assert error <= BOUNDS["FLOAT32"]
