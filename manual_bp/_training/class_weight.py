"""Example weights that follow from class weights."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from manual_bp._checks import arguments


def with_class_weight(Y: Any, weights: Any, class_weight: Mapping[int, float] | str | None) -> Any:
    """Multiplies `weights` by the weight of each example's class: an index in Y, or 0 or 1 in a single row of targets.

    "balanced" gives class c the weight m / (classes * m_c), where m_c is the sum of the weights of its examples and m
    the sum of all weights (King and Zeng, Logistic regression in rare events data, 2001).
    """
    if class_weight is None:
        return weights
    labels = np.asarray(Y).ravel()
    if np.ndim(Y) != 1 and np.shape(Y)[:1] != (1,):
        expected = "class indices of shape (m,), or one row of 0 and 1"
        raise ValueError(f"class_weight is given, and Y has shape {np.shape(Y)}; expected {expected}")
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
        raise ValueError(f"class_weight is {what}; expected 'balanced', or a dict of class weights such as {{0: 2.0}}")
    if not (np.isfinite(of_class).all() and (of_class >= 0).all()):
        raise ValueError(f"class_weight has weights {of_class.tolist()}; expected finite, non-negative numbers")
    return w * of_class[index]
