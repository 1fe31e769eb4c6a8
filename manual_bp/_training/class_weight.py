"""Weights of examples from weights of their classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from manual_bp._checks import arguments


def with_class_weight(Y: Any, weights: Any, class_weight: Mapping[int, float] | str | None) -> Any:
    """`weights` times the weight of each example's class; the classes are indices, or 0 and 1 in one row of targets.

    "balanced" gives class c the weight m / (classes * m_c), m_c being the sum of the weights of its examples and m that
    of all (King and Zeng, Logistic regression in rare events data, 2001).
    """
    if class_weight is None:
        return weights
    labels = np.asarray(Y).ravel()
    if np.ndim(Y) != 1 and np.shape(Y)[:1] != (1,):
        raise ValueError(f"class_weight is given, and Y has shape {np.shape(Y)}; expected class indices, of shape (m,)")
    w = np.ones(len(labels)) if weights is None else np.asarray(weights, float).ravel()
    classes, index = np.unique(labels, return_inverse=True)
    if isinstance(class_weight, Mapping):
        unknown = set(class_weight) - set(classes.tolist())
        if unknown:
            raise ValueError(f"class_weight has {sorted(unknown)}; expected classes of Y: {classes.tolist()}")
        of_class = np.array([class_weight.get(c, 1.0) for c in classes.tolist()])
    elif class_weight == "balanced":
        totals = np.bincount(index, w)
        of_class = np.divide(w.sum(), len(classes) * totals, out=np.ones_like(totals), where=totals > 0)
    else:
        what = repr(class_weight) if isinstance(class_weight, str) else arguments.a_kind(class_weight)
        raise ValueError(f"class_weight is {what}; expected 'balanced', or a weight for each class")
    if not (np.isfinite(of_class).all() and (of_class >= 0).all()):
        raise ValueError(f"class_weight has weights {of_class.tolist()}; expected finite numbers from 0 on")
    return w * of_class[index]
