"""Sums and assignments at indices that NumPy and JAX compute alike, so that one text serves for both."""

from typing import Any


def add_at(n: int, ids: Any, values: Any) -> Any:
    """Add each row of values, (m, d), to the row of an (n, d) array of zeros that its index names."""
    return _one_hot(n, ids, values) @ values


def set_at(n: int, ids: Any, values: Any) -> Any:
    """Set the row instead, so that the last of equal indices counts."""
    later = (ids[:, None] == ids[None, :]) & (_arange(ids)[:, None] < _arange(ids)[None, :])
    return _one_hot(n, ids, values) @ (values * ~later.any(axis=1)[:, None])


def _one_hot(n: int, ids: Any, values: Any) -> Any:
    rows = (0 * ids[:1] + 1).repeat(n).cumsum() - 1
    return (rows[:, None] == ids[None, :]).astype(values.dtype)


def _arange(ids: Any) -> Any:
    return (0 * ids + 1).cumsum()
