"""Values moved by about a tenth, and the kinds of values of which a pass may rightly make use."""

from typing import Literal

import numpy as np

Kind = Literal["any", "scaled", "fixed"]

CLOSE = 1e-3  # bfloat16 rounds probabilities by as much


def kind_of(values: np.ndarray) -> Kind:
    """Return whether the values are of no kind, scaled or centred, or those of labels, a mask or a distribution.

    A pass may be meant for such values only: "scaled" ones are rows of one norm, as of unit vectors, or of mean 0.
    """
    kind: Kind = "any"
    if not values.size or not np.isfinite(values).all():
        return "fixed"
    sizes = np.unique(np.abs(values))
    is_mask = sizes[sizes > 0].size <= 1
    if is_mask or not np.any(values % 1):
        return "fixed"
    with np.errstate(all="ignore"):
        for k in (k for k, size in enumerate(values.shape) if size > 1):
            if any(np.all(abs(total - 1) <= CLOSE) for total in (values.sum(k), np.exp(values).sum(k))):
                return "fixed"
            norms = np.linalg.norm(values, axis=k)  # that of a vector is a single one
            equal = np.ptp(norms) <= CLOSE * norms.max() if norms.size > 1 else abs(norms - 1) <= CLOSE
            if np.all(equal) or np.all(abs(values.sum(k)) <= CLOSE * np.abs(values).sum(k)):
                kind = "scaled"
    return kind


def moved_values(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move values by about a tenth. Signs, zeros, equal values and the order of a sorted vector remain.

    So do a symmetric matrix, and the range between -1 and 1 or outside of it, as of probabilities.
    """
    if not values.size:
        return values
    sizes, which = np.unique(np.abs(values), return_inverse=True)
    factors = rng.uniform(0.82, 0.98, sizes.shape) if sizes[-1] <= 1 else rng.uniform(1.02, 1.18, sizes.shape)
    steps = np.diff(values, axis=-1) if values.ndim else values
    factors = np.sort(factors) if (steps >= 0).all() or (steps <= 0).all() else factors
    with np.errstate(all="ignore"):
        return values * factors[which].reshape(values.shape)
