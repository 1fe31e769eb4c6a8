"""A classifier's labels, as targets of the network."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

from manual_bp._training.class_weight import with_class_weight
from manual_bp._training.dataset import Dataset
from manual_bp.sklearn._losses import CLASSES


def learn_classes(mlp: Any, y: np.ndarray, first: bool, incremental: bool) -> None:
    """Sets the classes to those in y, or checks that a training that continues has the same ones."""
    check_classification_targets(y)
    if first and not incremental:
        _binarize(mlp, y)
    elif not incremental and set(unique_labels(y)) != set(mlp.classes_):
        raise ValueError(f"y has classes {unique_labels(y)}; warm_start expects those of before, {mlp.classes_}")


def announce_classes(mlp: Any, y: Any, classes: Any) -> None:
    """Sets the classes to those announced in the first call of partial_fit."""
    if hasattr(mlp, "classes_"):
        if classes is not None and not np.array_equal(unique_labels(classes), mlp.classes_):
            raise ValueError(f"classes is {classes}; expected {mlp.classes_}, as in the first call of partial_fit")
    elif classes is None:
        raise ValueError("classes is None in the first call of partial_fit; pass all labels that there will be")
    else:
        _binarize(mlp, y if type_of_target(y).startswith("multilabel") else unique_labels(classes))


def encode_labels(mlp: Any, y: np.ndarray, dtype: Any) -> np.ndarray:
    """Returns class indices for a softmax, rows of 0 and 1 for logistic outputs."""
    if unknown := set(unique_labels(y)) - set(mlp.classes_):
        raise ValueError(f"y has classes {sorted(unknown)}; expected some of {mlp.classes_}")
    if mlp._loss() is CLASSES:
        return np.searchsorted(mlp.classes_, y).astype(np.int32)
    return mlp._label_binarizer.transform(y).astype(dtype)


def weights_with_classes(mlp: Any, data: Dataset, incremental: bool) -> Any:
    """Multiplies the weights of examples by those of their classes."""
    Y, by_class = np.asarray(data.Y), mlp.class_weight
    if by_class is None:
        return data.weights
    if Y.ndim == 2 and Y.shape[1] > 1:
        raise ValueError("class_weight is given, but examples have several labels; it needs one label per example")
    if incremental and not isinstance(by_class, Mapping):
        raise ValueError(
            f"class_weight is {by_class!r}; partial_fit sees only some examples, so it expects a dict of class weights"
        )
    if isinstance(by_class, Mapping):
        classes = mlp.classes_.tolist()
        if unknown := set(by_class) - set(classes):
            raise ValueError(f"class_weight has {sorted(unknown)}; expected some of {classes}")
        by_class = {k: by_class[c] for k, c in enumerate(classes) if c in by_class and np.any(Y == k)}
    return np.asarray(with_class_weight(Y.ravel(), data.weights, by_class), data.X.dtype)


def accuracy_of_labels(mlp: Any, A: np.ndarray, Y: np.ndarray, w: np.ndarray | None) -> float:
    """Returns the fraction of examples with every label right, weighted by w."""
    right = A.argmax(axis=0) == Y if Y.ndim == 1 else ((A > 0.5).T == (Y > 0.5)).all(axis=1)
    return float(np.average(right, weights=w))


def _binarize(mlp: Any, y: Any) -> None:
    mlp._label_binarizer = LabelBinarizer().fit(y)
    mlp.classes_ = mlp._label_binarizer.classes_
