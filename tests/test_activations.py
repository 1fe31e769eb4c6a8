import jax
import jax.numpy as jnp
import numpy as np
import pytest

import manual_bp as bp
from manual_bp._activations import ACTIVATIONS, activation_backward, takes_Z
from reference import autodiff

ELEMENTWISE = [name for name in ACTIVATIONS if name != "softmax"]
# Negatives, an exact zero, the neighbourhood of zero, and values where exponentials saturate
Z = np.array([[-1e4, -50.0, -3.0, -0.7, -1e-8, 0.0, 1e-8, 0.3, 2.0, 40.0, 1e4]])


def prime(activation, Z, A):
    assert activation.g_prime is not None
    return activation.g_prime(Z, A)


def second(activation, Z, A):
    assert activation.g_second is not None
    return activation.g_second(Z, A)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_forward_and_derivative(name):
    g, oracle = ACTIVATIONS[name], autodiff.ACTIVATIONS[name]
    A = jax.jit(g.g)(Z)
    expected, slope = jax.jit(lambda Z: (oracle(Z), jax.vmap(jax.vmap(jax.grad(oracle)))(Z)))(Z)
    np.testing.assert_allclose(A, expected, rtol=1e-13, atol=1e-300)
    np.testing.assert_allclose(jax.jit(prime, static_argnums=0)(g, Z, A), slope, rtol=1e-13, atol=1e-15)
    np.testing.assert_array_equal(np.isfinite(A), True)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_second_derivative(name):
    g, oracle = ACTIVATIONS[name], autodiff.ACTIVATIONS[name]
    expected = jax.jit(jax.vmap(jax.vmap(jax.grad(jax.grad(oracle)))))(Z)
    np.testing.assert_allclose(jax.jit(lambda Z: second(g, Z, g.g(Z)))(Z), expected, rtol=1e-12, atol=1e-13)
    if name == "elu":
        assert second(g, jnp.zeros((1, 1)), jnp.zeros((1, 1))).item() == 1


@pytest.mark.parametrize(
    ("name", "slope"), [("relu", 0.0), ("leaky_relu", 1.0), ("elu", 1.0), ("sigmoid", 0.25), ("gelu", 0.5)]
)
def test_derivative_at_zero(name, slope):
    zero = jnp.zeros((1, 1))
    g = ACTIVATIONS[name]
    assert prime(g, zero, g.g(zero)).item() == slope


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_autodiff_of_g_keeps_the_convention_at_zero(name):
    """`jax.grad` through `predict` differentiates g itself."""
    g, zero = ACTIVATIONS[name], jnp.zeros((1, 1))
    slope, expected = jax.jit(lambda Z: (jax.grad(lambda Z: jnp.sum(g.g(Z)))(Z), prime(g, Z, g.g(Z))))(zero)
    assert slope.item() == expected.item()


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_backward_is_the_transposed_jacobian(name):
    Z = jax.random.normal(jax.random.key(0), (4, 7))
    dA = jax.random.normal(jax.random.key(1), (4, 7))

    @jax.jit
    def found_and_expected(Z, dA):
        _, vjp = jax.vjp(autodiff.ACTIVATIONS[name], Z)
        return activation_backward(ACTIVATIONS[name], dA, Z, ACTIVATIONS[name].g(Z)), vjp(dA)[0]

    dZ, expected = found_and_expected(Z, dA)
    np.testing.assert_allclose(dZ, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_nan_stays_nan(name):
    A = ACTIVATIONS[name].g(jnp.array([[jnp.nan], [1.0]]))
    assert jnp.isnan(A[0]).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_dtype_is_kept(name, dtype):
    g, Z = ACTIVATIONS[name], jax.ShapeDtypeStruct((2, 3), dtype)
    with jax.numpy_dtype_promotion("strict"):
        found = jax.eval_shape(lambda Z: (g.g(Z), prime(g, Z, g.g(Z)), second(g, Z, g.g(Z))), Z)
    assert {x.dtype for x in found} == {jnp.dtype(dtype)}


def test_z_is_kept_where_the_derivative_takes_it():
    """A derivative that is said to take Z differs between two Z of one A, and the others do not."""
    A = jnp.full((1, 1), 0.3)
    for name in ELEMENTWISE:
        g = ACTIVATIONS[name]
        assert takes_Z(g) == bool(prime(g, -A, A) != prime(g, 2 * A, A)), name
    assert not takes_Z(ACTIVATIONS["softmax"])
    assert bp.Network((9, 7, 5, 4, 3), ("silu", "relu", bp.Activation(jnp.sin, lambda Z, A: jnp.cos(Z)))).kept == (
        *(7, 5, 4, 3),
        *(7, 4),
    )
