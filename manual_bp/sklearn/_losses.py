"""The losses of the estimators under scikit-learn's names: costs, each with its output activation.

With several outputs a loss is their sum, as everywhere in this library. scikit-learn reports the mean over outputs of
half the squared error, but descends the gradient of the sum; here both are the sum.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy.special import xlogy
from jaxtyping import Array

from manual_bp._activations import Activation
from manual_bp._costs import Cost, MatchedLoss


class Loss(NamedTuple):
    """A cost and an output activation, for `bp.Network`, and scikit-learn's name of the latter."""

    cost: Cost | str
    output: Activation | str
    out_activation: str


def half_squared_error(A: Array, Y: Array) -> Array:
    """Returns the sum over outputs of (a - y)^2 / 2."""
    return jnp.sum((A - Y) ** 2, axis=0) / 2


def half_squared_error_dA(A: Array, Y: Array) -> Array:
    return A - Y


def huber(A: Array, Y: Array) -> Array:
    """Returns the sum over outputs of e^2 / 2 if |e| <= 1, else |e| - 1/2; e = a - y (Huber 1964)."""
    e = jnp.abs(A - Y)
    return jnp.sum(jnp.where(e <= 1, e**2 / 2, e - 0.5), axis=0)


def huber_dA(A: Array, Y: Array) -> Array:
    return jnp.clip(A - Y, -1, 1)


def half_poisson_deviance(A: Array, Y: Array) -> Array:
    """Returns the sum over outputs of y log(y/a) - y + a."""
    return jnp.sum(xlogy(Y, Y) - xlogy(Y, A) - Y + A, axis=0)


def half_poisson_deviance_dA(A: Array, Y: Array) -> Array:
    return 1 - Y / A


def exp_poisson_deviance(Z: Array, Y: Array) -> Array:
    # log a = z
    return jnp.sum(xlogy(Y, Y) - Y * Z - Y + jnp.exp(Z), axis=0)


def exp_poisson_deviance_dZ(Z: Array, A: Array, Y: Array) -> Array:
    # (1 - y/a) a
    return A - Y


def exp_poisson_deviance_dY(Z: Array, Y: Array) -> Array:
    return jnp.log(Y) - Z


def exponential(Z: Array) -> Array:
    return jnp.exp(Z)


def exponential_prime(Z: Array, A: Array) -> Array:
    return A


EXPONENTIAL = Activation(exponential, exponential_prime)

REGRESSION = {
    "squared_error": Loss(Cost(half_squared_error, half_squared_error_dA), "identity", "identity"),
    "absolute_error": Loss("absolute_error", "identity", "identity"),
    "huber": Loss(Cost(huber, huber_dA), "identity", "identity"),
    "poisson": Loss(
        Cost(
            half_poisson_deviance,
            half_poisson_deviance_dA,
            matched=MatchedLoss(EXPONENTIAL, exp_poisson_deviance, exp_poisson_deviance_dZ, exp_poisson_deviance_dY),
        ),
        EXPONENTIAL,
        "exp",
    ),
}
LABELS = Loss("cross_entropy", "sigmoid", "logistic")
CLASSES = Loss("cross_entropy", "softmax", "softmax")
