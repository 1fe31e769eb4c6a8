"""The comparison of two gradients: the relative error of each leaf, in norm, after structure, shape and dtype.

A leaf whose true gradient is zero has no relative error, so its error is divided by the norm of the whole gradient. An
element-wise tolerance would not do: 1e-2 accepts db = 0 on a mean loss.
"""

from typing import Any

import jax
import numpy as np


def errors(found: Any, true: Any) -> dict[str, float]:
    """Return |found - true| / |true| of every leaf by its path, or infinity if either is not finite.

    `true` may have a wider dtype than `found`; structure and shapes must agree.
    """
    found_leaves, structure = jax.tree.flatten(found)
    paths, true_structure = jax.tree_util.tree_flatten_with_path(true)
    if structure != true_structure:
        raise ValueError(f"found has structure {structure}; expected {true_structure}")
    true_leaves = [np.asarray(leaf, np.float64) for _, leaf in paths]
    whole = np.sqrt(sum(float(np.sum(t[np.isfinite(t)] ** 2)) for t in true_leaves))
    return {
        jax.tree_util.keystr(path): _error(np.asarray(leaf, np.float64), t, whole)
        for leaf, (path, _), t in zip(found_leaves, paths, true_leaves, strict=True)
    }


def largest_error(found: Any, true: Any) -> float:
    """Return the largest of `errors`."""
    return max(errors(found, true).values())


def _error(found: np.ndarray, true: np.ndarray, whole: float) -> float:
    if found.shape != true.shape:
        raise ValueError(f"found has shape {found.shape}; expected {true.shape}")
    if not (np.isfinite(found).all() and np.isfinite(true).all()):
        return float("inf")
    norm = float(np.linalg.norm(true))
    scale = norm if norm > 16 * np.finfo(np.float64).eps * whole else whole
    return float(np.linalg.norm(found - true) / (scale or 1.0))
