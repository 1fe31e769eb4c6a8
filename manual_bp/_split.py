"""Training and held-out examples, and features on one scale."""

import numpy as np


def stratified_split(y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training examples and of the held-out ones: a random fifth of each class, at least one."""
    rng = np.random.default_rng(seed)
    held_out = np.zeros(len(y), bool)
    for c in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == c))
        held_out[members[: max(1, round(len(members) / 5))]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def standardize(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both by the mean and standard deviation of `train`; a feature that is constant there becomes 0."""
    mean, scale = np.mean(train, axis=0), np.std(train, axis=0)
    # The deviation of a constant may come out as rounding instead of 0
    scale[(scale == 0) | (np.max(train, axis=0) == np.min(train, axis=0))] = np.inf
    return (train - mean) / scale, (test - mean) / scale
