"""Functions that print while they run: an equation without outputs has no part in a derivative."""

import jax
import jax.numpy as jnp
import numpy as np

import manual_bp as bp

x = np.linspace(-1.0, 2.0, 4)


def test_a_cost_that_prints():
    def cost(p):
        jax.debug.print("the largest is {}", p.max())
        return jnp.sum(p**2)

    assert bp.check_gradients(cost, lambda p: {"dp": 2 * p}, x).verdict == "right"
    assert bp.check_gradients(cost, lambda p: {"dp": 3 * p}, x).verdict == "wrong"


def test_a_rule_that_prints():
    @jax.custom_vjp
    def square(x):
        return x**2

    def shown(x):
        jax.debug.print("x is {}", x)
        return square(x)

    for slope, verdict in ((2, "right"), (3, "wrong")):
        square.defvjp(lambda x: (x**2, x), lambda x, g, slope=slope: (slope * g * x,))
        assert bp.check_custom_vjp(shown, x).verdict == verdict
