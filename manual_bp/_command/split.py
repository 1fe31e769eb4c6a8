"""Examples to train on and held-out ones, and numbers on one scale."""

from typing import NamedTuple

import numpy as np


def stratified_split(y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training examples and of the held-out ones: a random fifth of each class, one at least.

    Of a class with a single example none is held out.
    """
    rng = np.random.default_rng(seed)
    held_out = np.zeros(len(y), bool)
    for c in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == c))
        held_out[members[: min(max(1, round(len(members) / 5)), len(members) - 1)]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


class Scaling(NamedTuple):
    """Mean and standard deviation of the training examples; a deviation of 0 is that of a constant."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, train: np.ndarray) -> "Scaling":
        mean, deviation = np.mean(train, axis=0), np.std(train, axis=0)
        # The deviation of a constant may come out as rounding instead of 0
        return cls(mean, np.where(np.max(train, axis=0) == np.min(train, axis=0), 0, deviation))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """The values with mean 0 and deviation 1 in training; what is constant there becomes 0."""
        away = values - self.mean
        return np.divide(away, self.deviation, out=np.zeros_like(away), where=self.deviation != 0)

    def back(self, values: np.ndarray) -> np.ndarray:
        return values * self.deviation + self.mean
