"""A .csv with a header row."""

import csv
import io
from array import array
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np

from manual_bp._command.errors import InputError
from manual_bp._command.table import Table, is_number, number

# The columns of a header -> those that are features, in order, and the one that holds the targets, if that is wanted
Choose = Callable[[list[str]], tuple[list[str], str | None]]


def read(file: BinaryIO, choose: Choose) -> Table:
    """The chosen columns: features as numbers, targets as text."""
    rows = _rows(file)
    _, header = next(rows, (0, []))
    columns = _header(header)
    features, target = choose(columns)
    at = [columns.index(name) for name in features]
    t = None if target is None else columns.index(target)
    values, labels, lines = array("d"), [], []
    for line, row in rows:
        if len(row) != len(columns):
            raise InputError(f"line {line}: expected {len(columns)} fields, as in the header; found {len(row)}")
        try:
            values.extend([number(row[j]) for j in at])
        except ValueError:
            j = next(j for j in at if not is_number(row[j]))
            what = f"{row[j][:40]!r} is not a number" if row[j] else "no value; fill it in, or leave the row out"
            raise InputError(f"column {columns[j]!r}, line {line}: {what}") from None
        if t is not None:
            labels.append(row[t])
        lines.append(line)
    if not lines:
        raise InputError("a header and no rows; expected a row for each example")
    return Table(
        X=np.array(values).reshape(len(lines), len(features)),
        y=None if t is None else np.array(labels),
        features=features,
        target=target,
        place=lambda i, j: f"column {features[j]!r}, line {lines[i]}",
        target_place=lambda i: f"column {target!r}, line {lines[i]}",
    )


def _header(columns: list[str]) -> list[str]:
    if not columns:
        raise InputError("the file is empty")
    for n, name in enumerate(columns, start=1):
        if not name:
            raise InputError(f"column {n} has no name in the header (a saved row index?); expected a name for each")
        # Names such as 0, 1, 2 are common; 5.1 is data
        if is_number(name) and not name.isdecimal():
            raise InputError(f"the first row holds {name!r}; expected a header row with the names of the columns")
        if columns.index(name) < n - 1:
            raise InputError(f"two columns are named {name!r}; expected a header row with distinct names")
    return columns


def _rows(file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not blank, with its line number; utf-8-sig drops the mark that spreadsheets put first."""
    with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, strict=True)
        try:
            for row in reader:
                if row:
                    yield reader.line_num, [field.strip() for field in row]
        except csv.Error as error:
            raise InputError(f"line {reader.line_num}: {error}") from None
        except UnicodeDecodeError:
            raise InputError("the text is not in UTF-8") from None
