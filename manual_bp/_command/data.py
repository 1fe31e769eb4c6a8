"""Examples to train on: scikit-learn's handwritten digits, or a file of the user's own, checked where they enter."""

import dataclasses

import numpy as np

from manual_bp._command import files, targets
from manual_bp._command.errors import InputError
from manual_bp._command.table import some

TARGETS = ("target", "label", "y")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Examples and their targets.

    Attributes:
        name: what a user calls it.
        X: features, shape (examples, features), float64.
        y: each example's class, an index into `classes`, or its value; shape (examples,).
        classes: the labels, sorted; None where the targets are values.
        features: the names of the features, or None.
        target: the name of the target, or None.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    classes: np.ndarray | None
    features: list[str] | None = None
    target: str | None = None


def digits() -> Dataset:
    """The 1,797 handwritten digits that come with scikit-learn, 8 x 8 pixels each."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise InputError("the digits come with scikit-learn: pip install 'manual_bp[sklearn]'") from None
    X, y = map(np.asarray, load_digits(return_X_y=True))
    return Dataset("handwritten digits", X, y, np.unique(y))


def read(path: str, target: str | None = None, regression: bool = False) -> Dataset:
    """The examples in a file.

    Args:
        path: an .npz with X (examples, features) and y (examples,), or a .csv with a header row.
        target: the column of the .csv that holds the targets; `target_column` chooses unless given.
        regression: whether the targets are values, and not classes.

    Raises:
        InputError: the file can't be read or trained on.
    """

    def choose(columns: list[str]) -> tuple[list[str], str]:
        if len(columns) < 2:
            raise InputError(f"one column, {columns[0][:40]!r}; expected features and a target, separated by commas")
        chosen = target_column(columns, target)
        return [name for name in columns if name != chosen], chosen

    with files.about(path):
        table = files.read(path, choose, targets=True)
        assert table.y is not None
        if (table.X == table.X[0]).all():
            raise InputError("every feature is constant: there is nothing to learn from")
        if regression:
            classes, y = None, targets.values(table.y, table.target_place)
            if (y == y[0]).all():
                raise InputError(f"every target is {y[0]:g}: there is nothing to learn")
            if len(y) < 10:
                raise InputError(f"{len(y)} examples; expected 10 or more, to train and to test on")
        else:
            classes, y = targets.classes(table.y, table.target_place)
    name = path if table.target is None else f"{path}, target column {table.target!r}"
    return Dataset(name, table.X, y, classes, table.features, table.target)


def target_column(columns: list[str], target: str | None) -> str:
    """The column asked for; else the first of `TARGETS` that is there, else the last."""
    if target is None:
        return next((name for name in TARGETS if name in columns), columns[-1])
    if target not in columns:
        raise InputError(f"has no column {target!r}; expected one of {some(columns)}")
    return target
