"""Networks and data for the kernel's emulation, and its errors.

Inputs and parameters are multiples of 1/8 or 1/2, exact in every precision. Where two correct programs could disagree
on a unit that is within rounding of its corner, its Z is then exact in both, and lies on the corner in some examples.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from emulated_kernel import HOPPER, value_and_grad, written

import manual_bp as bp
from manual_bp._kernel import packing, takes
from reference import autodiff
from reference.autodiff import Model
from reference.compare import largest_error

# The error allowed in a leaf, in norm
BOUNDS = {"FLOAT32": 2e-6, "TF32": 1e-3, "BFLOAT16": 2e-2}
# name: (model, m, blocks, targets, weighted); corners only where Z is exact, in the first layer
WIDTHS = {
    "33 wide": (Model((20, 33, 33, 10), ("relu", "tanh")), 257, 2, "indices", True),
    "16 wide": (Model((5, 16, 11, 3), ("leaky_relu", "sigmoid")), 513, 3, "columns", False),
    "64 wide": (Model((64, 64, 64, 10), ("relu", "elu"), "softmax", "squared_error"), 200, 1, "columns", True),
    "128 wide": (Model((100, 128, 25), "tanh", "sigmoid"), 64, 1, "columns", False),
    "one example": (Model((7, 9, 40, 4), ("elu", "identity"), "identity", "absolute_error"), 1, 1, "columns", True),
}
OUTPUTS = {
    "sigmoid output": (Model((9, 70, 6), "sigmoid", "sigmoid", "squared_error"), 65, 1, "columns", True),
    "tanh output": (Model((33, 8, 17), "identity", "tanh", "squared_error"), 64, 1, "columns", False),
    "elu output": (Model((3, 8, 2), "tanh", "elu", "squared_error"), 96, 1, "columns", True),
    "softmax, absolute": (Model((3, 8, 7), "tanh", "softmax", "absolute_error"), 96, 1, "columns", True),
}
# Corners in every layer and ties at the output, where Z is exact in the split form alone
CORNERS = {
    "relu": (Model((12, 24, 24, 24, 5), "relu", "relu", "squared_error"), 300, 2, "columns", True),
    "leaky_relu": (Model((12, 24, 5), "identity", "leaky_relu", "absolute_error"), 100, 1, "columns", False),
    "identity": (Model((12, 24, 5), "relu", "identity", "absolute_error"), 100, 1, "columns", False),
}


@functools.cache
def drawn(model: Model, m: int, targets: str, weighted: bool, parts: int = 8):
    """(params, X, Y, weights, (cost, gradient) in float64), every third example absent."""
    rng = np.random.default_rng(m)

    def multiples(scale, *shape):
        return np.round(parts * scale * rng.normal(size=shape)) / parts

    params = tuple(bp.Layer(multiples(k**-0.5, n, k), multiples(0.5, n, 1)) for k, n in itertools.pairwise(model.sizes))
    X, n = multiples(0.7, model.sizes[0], m), model.sizes[-1]
    Y = rng.integers(n, size=m) if targets == "indices" else np.round(parts * rng.random((n, m))) / parts
    weights = None
    if weighted:
        weights = np.round(8 * rng.random(m) + 1) / 8 * (np.arange(m) % 3 != 1)
    with jax.enable_x64(True):
        given = jax.tree.map(jnp.asarray, (params, X, Y, weights))
        return params, X, Y, weights, jax.value_and_grad(functools.partial(autodiff.cost, model))(*given)


def form_of(model: Model, precision: str, targets: str, weighted: bool):
    form = takes.form_of(bp.Network(*model), precision, targets == "indices", weighted, HOPPER)
    assert form is not None
    return form


def errors(form, case, change=(), parts=8, **how) -> tuple[float, np.ndarray]:
    model, m, blocks, targets, weighted = case
    params, X, Y, weights, true = drawn(model, m, targets, weighted, parts)
    if weighted:  # whatever an absent example holds stays its own
        X, Y = np.where(weights == 0, np.nan, X), np.where(weights == 0, 99 if form.indices else np.nan, Y)
    (rows,) = written(form, packing.pack(form, params), X, Y, weights, blocks, change=change, **how)
    return largest_error(value_and_grad(form, rows), true), rows
