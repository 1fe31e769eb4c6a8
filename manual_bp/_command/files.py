"""A file of examples, by its suffix."""

import contextlib
from collections.abc import Iterator

from manual_bp._command import csv_file, npz_file
from manual_bp._command.errors import InputError
from manual_bp._command.table import Table, finite


@contextlib.contextmanager
def about(path: str) -> Iterator[None]:
    """Puts the file's name in front of what is wrong with it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}") from None


def read(path: str, choose: csv_file.Choose, targets: bool) -> Table:
    """The chosen columns of a .csv, or X and, if the targets are wanted, y of an .npz; its features finite."""
    with open(path, "rb") as file:
        suffix = path[path.rfind(".") :].lower()
        if suffix not in (".npz", ".csv"):
            raise InputError("expected a file named .npz or .csv")
        if not file.peek(1):
            raise InputError("the file is empty")
        table = csv_file.read(file, choose) if suffix == ".csv" else npz_file.read(file, targets)
    finite(table.X, table.place)
    return table
