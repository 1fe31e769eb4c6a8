"""A small network, its data and options, for the tests of `bp.fit`."""

import functools
from typing import Any

import jax
import numpy as np

import manual_bp as bp

NETWORK = bp.Network((4, 6, 3), "tanh")
M = 47
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(M, 4))
# the classes follow from the inputs, but for some noise
X, Y = ROWS.T, np.argmax(ROWS[:, :3] + 0.5 * RNG.normal(size=(M, 3)), axis=1)
DATA = X, Y
WEIGHTS = np.arange(M) % 4 * 1.0
OPTIONS: dict[str, Any] = {"epochs": 6, "batch_size": 8, "learning_rate": 0.02, "key": jax.random.key(8)}
# not typed: options are put together at run time
fit: Any = bp.fit


def same(a, b) -> bool:
    """Whether two trees agree bit for bit."""
    return jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), a, b))


def close(a, b, rtol) -> None:
    """Assert that two trees agree element by element."""
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=rtol), a, b)


def fit_with(**options) -> Any:
    """`bp.fit` on the data, where the options do not replace them."""
    args = {"X": X, "Y": Y, "weights": None} | options
    return fit(NETWORK, *(args.pop(name) for name in ("X", "Y", "weights")), **args)
