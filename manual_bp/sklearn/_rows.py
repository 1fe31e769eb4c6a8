"""The user's rows, checked, as the datasets of a training."""

from typing import Any

import jax
import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import _check_sample_weight, check_consistent_length, validate_data

from manual_bp._checks import arguments
from manual_bp._training.dataset import Dataset

SPARSE = ("csr", "csc")


def dataset_of_rows(X: Any, Y: Any, sample_weight: Any) -> Dataset:
    """The dataset of encoded targets. A sparse X becomes dense, as training holds the examples on the device."""
    if sample_weight is not None:
        sample_weight = _check_sample_weight(sample_weight, X, dtype=X.dtype, ensure_non_negative=True)
    return Dataset(X.toarray() if hasattr(X, "toarray") else X, Y, sample_weight)


def validation_dataset(mlp: Any, data: Any, dtype: np.dtype) -> Dataset | None:
    """The dataset of the argument `validation_data` of `fit`."""
    if data is None:
        return None
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise TypeError(f"validation_data is {arguments.a_kind(data)}; expected (X, y) or (X, y, sample_weight)")
    X, y, *sample_weight = data
    X = validate_data(mlp, X, accept_sparse=SPARSE, dtype=dtype, reset=False)
    y = np.asarray(y)
    check_consistent_length(X, y)
    y = y.ravel() if y.ndim == 2 and y.shape[1] == 1 else y
    return dataset_of_rows(X, mlp._encode(y, dtype), sample_weight[0] if sample_weight else None)


def hold_out(data: Dataset, fraction: float, strata: Any, rng: np.random.RandomState) -> tuple[Dataset, Dataset]:
    """Splits the rows as scikit-learn would: those to train on, and those held out."""
    rows = train_test_split(np.arange(len(data.X)), random_state=rng, test_size=fraction, stratify=strata)
    if len(rows[1]) < 2:
        raise ValueError(f"validation_fraction is {fraction} of {len(data.X)} examples; expected at least 2 examples")
    return jax.tree.map(lambda x: x[rows[0]], data), jax.tree.map(lambda x: x[rows[1]], data)
