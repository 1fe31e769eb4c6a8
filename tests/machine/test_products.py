"""The products of a layer in each of the forms that shapes choose between, and mistakes planted in each form."""

import importlib

import jax.numpy as jnp
import numpy as np
import pytest
from planted import NAME

from manual_bp._machine import products

# (n, k, m): units, inputs, examples
SHAPES = {
    "one example": (5, 7, 1),
    "fewer examples than weights": (50, 70, 9),
    "many": (5, 7, 40),
    "many, with far more inputs than units": (32, 70, 520),
}


def errors(products, shape):
    """How far each product is from NumPy's, relative to it."""
    n, k, m = shape
    rng = np.random.default_rng(0)
    W, A, dZ = (jnp.asarray(rng.standard_normal(s)) for s in ((n, k), (k, m), (n, m)))
    within, last = products.ForRows(W, False), products.ForRows(W, True)
    pairs = {
        "Z": (products.weighted_input(W, A), W @ A),
        "dA": (products.back_through_weights(W, dZ, A), W.T @ dZ),
        "dW": (products.weight_gradient(dZ, A, W), dZ @ A.T),
        "rows of Z": (products.weighted_input(within, A.T), (W @ A).T),
        "Z from rows": (products.weighted_input(last, A.T), W @ A),
        "rows of dA": (products.back_through_weights(within, dZ.T, A.T), (W.T @ dZ).T),
        "rows of dA from dZ": (products.back_through_weights(last, dZ, A.T), (W.T @ dZ).T),
    }
    assert all(found.shape == right.shape for found, right in pairs.values())
    return {name: np.linalg.norm(found - right) / np.linalg.norm(right) for name, (found, right) in pairs.items()}


@pytest.mark.parametrize("name", SHAPES)
def test_products(name):
    assert max(errors(products, SHAPES[name]).values()) <= 1e-13


# The shape that takes a form, the product that shows what is wrong in it, and the line
MISTAKES = [
    ("one example", "dA", "return as_it_is(W, dZ)\n    #", "return as_it_is(W, dZ + 1)\n    #"),
    ("fewer examples than weights", "dA", "_dot(dZ_T, W, (1, 0)", "_dot(dZ_T, 2 * W, (1, 0)"),
    ("fewer examples than weights", "dA", "lax.optimization_barrier(dZ.T)", "lax.optimization_barrier(-dZ.T)"),
    ("many", "dA", "lax.optimization_barrier(W.T)", "lax.optimization_barrier(abs(W.T))"),
    ("many, with far more inputs than units", "dW", "_dot(A, dZ, (1, 1)", "_dot(A, dZ - 1, (1, 1)"),
    ("many", "rows of Z", "_dot(A, W.W, (1, 1)", "_dot(A, 2 * W.W, (1, 1)"),
    ("many", "Z from rows", "_dot(W.W, A, (1, 1)", "_dot(W.W, A + 1, (1, 1)"),
    ("many", "rows of dA", "W.to_columns else dZ, W.W", "W.to_columns else dZ, abs(W.W)"),
    ("many", "rows of dA from dZ", "lambda X: X, X.T)", "lambda X: X, -X.T)"),
]


@pytest.mark.parametrize(("shape", "product", "right", "wrong"), MISTAKES)
def test_a_mistake_shows_in_the_form_it_is_in(shape, product, right, wrong, plant):
    plant("_machine/products", right, wrong)
    mistaken = importlib.import_module(f"{NAME}._machine.products")
    found, expected = (errors(p, SHAPES[shape])[product] for p in (mistaken, products))
    assert expected <= 1e-13 < 1e-3 < found
