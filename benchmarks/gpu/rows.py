"""The rows of the steps that are not suites, written line by line."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import environment


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def write_rows(found: Callable[[], Iterator[dict[str, Any]]]) -> int:
    """Select the device of the command line and write a line for each row found: 1 if one is not `ok`, else 0."""
    device, path = sys.argv[1:]
    environment.select_device(device)
    status, here = 0, environment.describe("any")
    with Path(path).open("a", encoding="utf-8") as file:
        for row in found():
            file.write(json.dumps(row | {"environment": here}) + "\n")
            file.flush()
            print(*(f"{name} {_short(value)}" for name, value in row.items()), sep=", ", flush=True)
            status |= not row.get("ok", True)
    return status
