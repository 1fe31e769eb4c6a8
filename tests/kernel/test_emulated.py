"""The kernel's text, run on the CPU, against autodiff in float64."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from emulated_kernel import library
from kernel_problems import BOUNDS, CORNERS, OUTPUTS, WIDTHS, drawn, errors, form_of

from reference import autodiff


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
