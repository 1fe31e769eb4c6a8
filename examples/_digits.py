"""scikit-learn's handwritten digits, a column for each."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from manual_bp._command.data import digits
from manual_bp._command.split import stratified_split


class Digits(NamedTuple):
    """Training digits and held-out ones: pixels from 0 to 1, shape (64, m), and classes, shape (m,)."""

    X: jax.Array
    y: jax.Array
    X_test: jax.Array
    y_test: jax.Array


def all_digits() -> tuple[np.ndarray, np.ndarray]:
    """X of shape (64, 1797) and y of shape (1797,)."""
    data = digits()
    # A pixel counts from 0 to 16, whoever wrote the digit: scaled so, no example learns anything of the others
    return data.X.T / 16, data.y.astype(np.int32)


def split_digits(seed: int) -> Digits:
    """A random fifth of every class is held out."""
    X, y = all_digits()
    train, test = stratified_split(y, seed)
    return Digits(*map(jnp.asarray, (X[:, train], y[train], X[:, test], y[test])))
