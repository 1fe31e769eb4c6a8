"""`python -m manual_bp predict`: classes or values of examples in a file."""

import argparse
import csv
import sys
from typing import TextIO

import numpy as np

from manual_bp._command import files, matching
from manual_bp._command.errors import InputError, cannot_write
from manual_bp._command.model import Model, outputs, trained


def run(options: argparse.Namespace) -> None:
    model = trained(options.model)
    if options.probabilities and model.classes is None:
        raise InputError(f"{options.model} gives values: there are no --probabilities")
    table = matching.read(options.data, model, targets=False)
    with files.about(options.data):
        A = outputs(model, table)
    columns = predictions(model, A, options.probabilities)
    if options.out is None:
        _write_csv(sys.stdout, columns)
        return
    try:
        if options.out.lower().endswith(".npz"):
            with open(options.out, "wb") as file:
                np.savez(file, allow_pickle=False, **_arrays(model, columns))
        else:
            with open(options.out, "w", encoding="utf-8", newline="") as file:
                _write_csv(file, columns)
    except OSError as error:
        raise cannot_write(options.out, error) from None


def predictions(model: Model, A: np.ndarray, probabilities: bool) -> dict[str, np.ndarray]:
    """A column of classes or values, and one of probabilities for each class if asked for."""
    if model.classes is None:
        assert model.outputs is not None
        # More digits than float32 has would be rounding
        return {"value": model.outputs.back(A[0].astype(np.float64)).astype(np.float32)}
    columns = {"class": np.array(model.classes)[np.argmax(A, axis=0)]}
    if probabilities:
        columns |= {f"p_{label}": p for label, p in zip(model.classes, A, strict=True)}
    return columns


def _arrays(model: Model, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """y, as in the .npz of a training, and the probabilities, shape (examples, classes), beside the classes."""
    y, *probabilities = columns.values()
    if not probabilities:
        return {"y": y}
    return {"y": y, "probabilities": np.stack(probabilities, axis=1), "classes": np.array(model.classes)}


def _write_csv(file: TextIO, columns: dict[str, np.ndarray]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    # str of a NumPy number is its shortest form
    writer.writerows(zip(*(map(str, column) for column in columns.values()), strict=True))
    file.flush()
