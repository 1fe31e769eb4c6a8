"""Which classes are taken for which."""

from typing import Any

import numpy as np

# More columns would not fit a terminal
CLASSES, MISTAKES = 12, 10


def confusion(true: np.ndarray, predicted: np.ndarray, classes: list[Any]) -> str:
    """A row for each class and a column for each that was predicted; of many classes, the most frequent mistakes."""
    n = len(classes)
    counts = np.bincount(true * n + predicted, minlength=n * n).reshape(n, n)
    labels = [str(label) for label in classes]
    return _matrix(counts, labels) if n <= CLASSES else _mistakes(counts, labels)


def _matrix(counts: np.ndarray, labels: list[str]) -> str:
    names = [label if len(label) <= 8 else f"{label[:7]}…" for label in labels]
    width = max(len(str(counts.max())), *map(len, names)) + 2
    left = max(len("class"), *(min(len(label), 24) for label in labels)) + 2
    lines = [" " * left + "predicted", "class".ljust(left) + "".join(name.rjust(width) for name in names)]
    for label, row in zip(labels, counts.tolist(), strict=True):
        # Zeros would hide what is there
        lines.append(label[:24].ljust(left) + "".join(str(count or "·").rjust(width) for count in row))
    return "\n".join(lines)


def _mistakes(counts: np.ndarray, labels: list[str]) -> str:
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MISTAKES]
    pairs = [(i, j) for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True) if wrong[i, j]]
    if not pairs:
        return "no mistakes"
    lines = [f"  {wrong[i, j]} of {counts[i].sum()} {labels[i]} taken for {labels[j]}" for i, j in pairs]
    return "\n".join(["the most frequent mistakes:", *lines])
