"""One step: a process that is ended at its limit, and the rows and lines that it leaves."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.environment import ROOT

INTERRUPTED = "interrupted"


class Ended(NamedTuple):
    """The end of a step, its rows and its lines."""

    name: str
    rows: int
    seconds: float
    how: str  # "done", or why it did not come to its end
    lines: list[str]  # all that it printed

    @property
    def failed(self) -> bool:
        """Whether it went wrong, or wrote nothing. A step that is cut off with some rows written did what it could."""
        return self.how.startswith("exit status") or self.rows == 0 and self.how != INTERRUPTED


def run_step(name: str, command: Sequence[str], variables: Mapping[str, str], folder: Path, limit: float) -> Ended:
    """Run a command that writes rows to the file `name`.jsonl of the folder, for `limit` seconds at most."""
    rows, log, start = folder / f"{name}.jsonl", folder / f"{name}.log", time.monotonic()
    before = _lines(rows)
    how = "no time left"
    if limit > 0:
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                status = process.wait(limit)
                how = f"exit status {status}" if status else "done"
            except subprocess.TimeoutExpired:
                how = f"ended at its limit of {limit:.0f} s"
            except KeyboardInterrupt:
                how = INTERRUPTED
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    lines = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
    return Ended(name, len(_lines(rows)) - len(before), round(time.monotonic() - start, 1), how, lines)


def _lines(path: Path) -> list[str]:
    """The whole lines of a file; none if it is not there."""
    return path.read_text("utf-8").split("\n")[:-1] if path.exists() else []
