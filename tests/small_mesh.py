"""A small network, its data and its training on one device, for the tests of training on several."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import manual_bp as bp

# the 6 rows of the hidden layer divide by 2, the 3 of the output do not
NETWORK = bp.Network((5, 6, 3), "tanh")
ADAM, SGD = optax.adam(0.01), optax.sgd(0.1, 0.9)
M = 22
# 4 batches, the last one of a single example; 7 does not divide by 4 devices
OPTIONS = {"optimizer": ADAM, "batch_size": 7, "epochs": 2}
AGREE = 1e-12


def examples() -> Any:
    """X, classes and weights; an example of weight 0 is absent, whatever it holds."""
    rng = np.random.default_rng(0)
    X, Y, weights = rng.normal(size=(5, M)), rng.integers(3, size=M), rng.integers(3, size=M) * 0.5
    # copies of the first one fill up batches
    weights[0] = 1.5
    X[:, np.flatnonzero(weights == 0)[0]] = np.nan
    return X, Y, weights


def validation() -> Any:
    """All of the examples but the first; they do not divide by the devices."""
    return tuple(x[..., 1:] for x in examples())


def start(optimizer=ADAM, network=NETWORK):
    return bp.train_state(network, optimizer, jax.random.key(0), dtype=jnp.float64)


@functools.cache
def fitted() -> Any:
    """The result on one device."""
    with jax.enable_x64(True):
        return bp.fit(NETWORK, *examples(), **OPTIONS, validation_data=validation())
