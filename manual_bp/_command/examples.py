"""The examples of one training, on one scale: some to train on, some to watch, some to test with."""

import hashlib
from typing import NamedTuple

import numpy as np

from manual_bp._command.data import Dataset
from manual_bp._command.errors import InputError
from manual_bp._command.split import Scaling, stratified_split


class Part(NamedTuple):
    """Columns: X, shape (n_0, m), and class indices, shape (m,), or scaled values, shape (1, m)."""

    X: np.ndarray
    Y: np.ndarray


class Examples(NamedTuple):
    """The parts, and the scalings of the features and, where they are values, of the targets."""

    training: Part
    validation: Part
    test: Part
    inputs: Scaling
    outputs: Scaling | None


def examples(data: Dataset, seed: int, apart: bool) -> Examples:
    """A random fifth is to test with, of each class where there are classes.

    Args:
        data: all examples.
        seed: of the split.
        apart: whether another fifth, of the rest, is to watch. It has to be where training ends by it: the test would
            be of examples that had a say. Otherwise what is watched is what is tested with.
    """
    # Values are split as if they were of one class
    strata = np.zeros(len(data.y), int) if data.classes is None else data.y
    training, test = stratified_split(strata, seed)
    validation = test
    if apart:
        kept, held_out = stratified_split(strata[training], seed)
        training, validation = training[kept], training[held_out]
        if not len(validation):
            raise InputError("--patience keeps a fifth of the training examples apart, and there are too few for that")

    inputs, outputs = Scaling.of(data.X[training]), None
    X = inputs(data.X).T
    if data.classes is not None:
        Y = data.y.astype(np.int32)
    else:
        outputs = Scaling.of(data.y[training])
        if outputs.deviation == 0:
            raise InputError(f"every training target of seed {seed} is {outputs.mean:g}: there is nothing to learn")
        Y = outputs(data.y)[None, :]

    def part(rows: np.ndarray) -> Part:
        return Part(X[:, rows], Y[..., rows])

    return Examples(part(training), part(validation), part(test), inputs, outputs)


def digest(data: Dataset) -> str:
    """Tells these examples from others."""
    sha256 = hashlib.sha256()
    for part in (data.X, data.y, [] if data.classes is None else data.classes.tolist()):
        sha256.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    return sha256.hexdigest()
