"""Checks of the values of examples: a compiled step does not check them, and one NaN makes all parameters NaN."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from manual_bp._network import Network


def check_values(network: Network, X: Any, Y: Any, weights: Any) -> None:
    """Refuse weights that are negative or all 0, and bad values in examples whose weight is not 0."""
    present = None
    if weights is not None:
        w = np.ravel(np.asarray(weights))
        bad = ~(np.isfinite(w) & (w >= 0))
        if bad.any() or not w.any():
            found = f"{w[bad][0]} at index {np.argmax(bad)}" if bad.any() else "only zeros"
            raise ValueError(f"weights has {found}; expected finite non-negative numbers, not all of them 0")
        present = w > 0
    # A memory-mapped file is read batch by batch in training; it is not read as a whole here
    if not isinstance(X, np.memmap):
        _finite("X", X, present)
    if jnp.issubdtype(Y.dtype, jnp.integer) and np.ndim(Y) == 1:
        _indices(np.asarray(Y), network.sizes[-1], present)
    else:
        _finite("Y", Y, present)


def _finite(name: str, x: Any, present: np.ndarray | None) -> None:
    x = np.asarray(x)
    # One pass without an array of booleans. Finite numbers may have an infinite sum, so only a finite sum decides
    if np.isfinite(np.sum(x, dtype=np.float64)):
        return
    bad = ~np.isfinite(x) if present is None else ~np.isfinite(x) & present
    if bad.any():
        i, j = np.argwhere(bad)[0].tolist()
        raise ValueError(
            f"{name}[{i}, {j}] is {x[i, j]} (elements of {name} not finite: {bad.sum()}); expected finite numbers: "
            "give such an example weight 0, or leave it out"
        )


def _indices(y: np.ndarray, n: int, present: np.ndarray | None) -> None:
    bad = (y < 0) | (y >= n) if present is None else ((y < 0) | (y >= n)) & present
    if bad.any():
        raise ValueError(
            f"Y has the class index {y[bad][0]} at {np.argmax(bad)}; expected 0 to {n - 1}, as the network has {n} "
            "outputs: np.unique(Y, return_inverse=True)[1] makes class indices of labels"
        )
