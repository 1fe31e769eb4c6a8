"""The attributes coefs_ and intercepts_: drawn as in scikit-learn, and converted to and from layers."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from manual_bp._activations import SIGMOID, Activation
from manual_bp._network import Layer, Params

Weights = tuple[list[np.ndarray], list[np.ndarray]]


def draw_weights(
    sizes: Sequence[int], hidden: Sequence[Activation], rng: np.random.RandomState, dtype: np.dtype
) -> Weights:
    """Draws initial coefs_ and intercepts_: the numbers of scikit-learn for the same random state.

    Both are uniform from -r to r, r = sqrt(6 / (n_in + n_out)), or with 2 instead of 6 for a logistic activation
    (Glorot and Bengio 2010). The output layer is drawn as the last hidden one.
    """
    coefs, intercepts = [], []
    activations = [*hidden, hidden[-1] if hidden else None]
    for n_in, n_out, g in zip(sizes[:-1], sizes[1:], activations, strict=True):
        r = np.sqrt((2 if g == SIGMOID else 6) / (n_in + n_out))
        coefs.append(rng.uniform(-r, r, (n_in, n_out)).astype(dtype))
        intercepts.append(rng.uniform(-r, r, n_out).astype(dtype))
    return coefs, intercepts


def layers_of(coefs: Sequence[Any], intercepts: Sequence[Any]) -> Params:
    """Returns the layers W[l], b[l], on the device."""
    pairs = zip(coefs, intercepts, strict=True)
    return jax.device_put(tuple(Layer(coef.T, intercept[:, None]) for coef, intercept in pairs))


def weights_of(params: Params) -> Weights:
    """Returns coefs_ and intercepts_, as NumPy copies."""
    return [np.array(np.asarray(W).T, order="C") for W, _ in params], [np.array(b)[:, 0] for _, b in params]
