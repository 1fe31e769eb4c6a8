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
    "few": (5, 7, 9),
    "many": (5, 7, 40),
    "many, of a layer with many inputs": (5, 130, 40),
    "some, of a W that outgrows the cache": (520, 1030, 40),
    "many, with far more inputs than units": (32, 70, 520),
}


def errors(products, shape):
    """How far each product is from NumPy's, relative to it."""
    n, k, m = shape
    rng = np.random.default_rng(0)
    W, A, dZ = (jnp.asarray(rng.standard_normal(s)) for s in ((n, k), (k, m), (n, m)))
    pairs = {
        "Z": (products.weighted_input(W, A), W @ A),
        "dA": (products.back_through_weights(W, dZ, A), W.T @ dZ),
        "dW": (products.weight_gradient(dZ, A, W), dZ @ A.T),
    }
    assert all(found.shape == right.shape for found, right in pairs.values())
    return {name: np.linalg.norm(found - right) / np.linalg.norm(right) for name, (found, right) in pairs.items()}


@pytest.mark.parametrize("name", SHAPES)
def test_products(name):
    assert max(errors(products, SHAPES[name]).values()) <= 1e-13


# What is wrong, and the shape that takes that form
MISTAKES = {
    "few": ("_dot(dZ_T, W, (1, 0)", "_dot(dZ_T, 2 * W, (1, 0)"),
    "some, of a W that outgrows the cache": ("lax.optimization_barrier(dZ.T)", "lax.optimization_barrier(-dZ.T)"),
    "many, of a layer with many inputs": ("lax.optimization_barrier(W.T)", "lax.optimization_barrier(abs(W.T))"),
    "many": ("return as_it_is(W, dZ)", "return as_it_is(W, dZ + 1)"),
    "many, with far more inputs than units": ("_dot(A, dZ, (1, 1)", "_dot(A, dZ - 1, (1, 1)"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_shows_in_the_form_it_is_in(name, plant):
    plant("_machine/products", *MISTAKES[name])
    mistaken = importlib.import_module(f"{NAME}._machine.products")
    right, wrong = (max(errors(p, SHAPES[name]).values()) for p in (products, mistaken))
    assert right <= 1e-13 < 1e-3 < wrong
