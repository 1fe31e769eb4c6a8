"""A .csv with a header row, as features and labels, each with its place in the file."""

import csv
import dataclasses
import io
from array import array
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

TARGETS = ("target", "label", "y")


class DataError(Exception):
    """Data that can't be trained on. The message is the one line a user sees."""


@dataclasses.dataclass(frozen=True)
class Table:
    """Features X, shape (rows, columns), labels y, and where they stood."""

    X: np.ndarray
    y: np.ndarray
    columns: list[str]
    target: str
    lines: list[int]

    def place(self, i: int, j: int) -> str:
        return f"column {self.columns[j]!r}, line {self.lines[i]}"

    def target_place(self, i: int) -> str:
        return f"column {self.target!r}, line {self.lines[i]}"


def read(file: BinaryIO, target: str | None) -> Table:
    """Every column but the target's as numbers; the target's as numbers where all are, as text otherwise."""
    rows = _rows(file)
    _, header = next(rows, (0, []))
    columns = _header(header)
    target = target_column(columns, target)
    t = columns.index(target)
    features = columns[:t] + columns[t + 1 :]
    values, labels, lines = array("d"), [], []
    for line, row in rows:
        if len(row) != len(columns):
            raise DataError(f"line {line}: expected {len(columns)} fields, as in the header; found {len(row)}")
        labels.append(row.pop(t))
        lines.append(line)
        try:
            values.extend(map(_number, row))
        except ValueError:
            name, field = next((n, f) for n, f in zip(features, row, strict=True) if not _is_number(f))
            raise DataError(f"column {name!r}, line {line}: {field[:40]!r} is not a number") from None
    if not lines:
        raise DataError("a header and no rows; expected a row for each example")
    y = np.array([_number(f) for f in labels] if all(map(_is_number, labels)) else labels)
    return Table(np.array(values).reshape(len(lines), -1), y, features, target, lines)


def target_column(columns: list[str], target: str | None) -> str:
    """The column asked for; else the first of `TARGETS` that is there, else the last."""
    if target is None:
        return next((name for name in TARGETS if name in columns), columns[-1])
    if target not in columns:
        raise DataError(f"has no column {target!r}; expected one of {some(columns)}")
    return target


def some(names: list[str]) -> str:
    """The first few names, for a message of one line."""
    return ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")


def _header(columns: list[str]) -> list[str]:
    if not columns:
        raise DataError("the file is empty")
    if len(columns) < 2:
        raise DataError(f"one column, {columns[0][:40]!r}; expected features and a target, separated by commas")
    for number, name in enumerate(columns, start=1):
        if not name:
            raise DataError(f"column {number} has no name in the header (a saved row index?); expected a name for each")
        # Names such as 0, 1, 2 are common; 5.1 is data
        if _is_number(name) and not name.isdecimal():
            raise DataError(f"the first row holds {name!r}; expected a header row with the names of the columns")
        if columns.index(name) < number - 1:
            raise DataError(f"two columns are named {name!r}; expected a header row with distinct names")
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
            raise DataError(f"line {reader.line_num}: {error}") from None
        except UnicodeDecodeError:
            raise DataError("the text is not in UTF-8") from None


def _number(field: str) -> float:
    # float() alone reads 1_000 as a thousand, which no other reader of .csv does
    if "_" in field:
        raise ValueError(field)
    return float(field)


def _is_number(field: str) -> bool:
    try:
        _number(field)
    except ValueError:
        return False
    return True
