"""The user's own line, and the expression in it, that an equation of a jaxpr comes from."""

import linecache
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import jax
import numpy as np

LIBRARIES = tuple(str(Path(str(module.__file__)).parent) + os.sep for module in (jax, np))
HERE = str(Path(__file__).parents[2]) + os.sep
LONGEST = 90  # characters of code that a sentence quotes


class Source(NamedTuple):
    """A place in a source file, and its code on one line, or "" if the file cannot be read."""

    file: str
    line: int
    code: str

    def __str__(self) -> str:
        return f"`{self.code}` ({self.at})" if self.code else self.at

    @property
    def value(self) -> str:
        """The variable that the code is assigned to, or the code."""
        name, _, rest = self.code.partition(" = ")
        return name if rest and name.isidentifier() else self.code

    @property
    def at(self) -> str:
        return f"line {self.line} of {Path(self.file).name}"


def find_source(calls: Sequence[Any]) -> Source | None:
    """Find the innermost line of the user's for an equation, the last of `calls`, given the calls around it."""
    for equation in reversed(calls):
        for code, position in _frames(equation):
            if code.co_filename.startswith(HERE):
                break
            if not code.co_filename.startswith(LIBRARIES):
                return _read(code, position)
    return None


def describe_source(calls: Sequence[Any]) -> str:
    """Write the code of an equation, its line, and the line that calls it, if that is another one."""
    inner, outer = find_source(calls), find_source(calls[:1])
    if inner is None:
        return f"an equation, {calls[-1].primitive.name}, without a line of yours"
    if outer is None or (outer.file, outer.line) == (inner.file, inner.line):
        return str(inner)
    called = f"line {outer.line}" if outer.file == inner.file else outer.at
    return f"`{inner.code}` ({inner.at}, reached from {called})" if inner.code else f"{inner.at}, reached from {called}"


def describe_value(calls: Sequence[Any]) -> str:
    """Write the code that computes a value, or "a value"."""
    source = find_source(calls)
    return f"`{source.value}`" if source and source.code else "a value"


def _frames(equation: Any) -> Iterator[tuple[CodeType, int]]:
    """Return the frames of an equation's trace, the innermost first, each as its code and the place in it."""
    trace = equation.source_info.traceback
    codes, places = trace.raw_frames() if trace is not None else ((), ())
    return zip(codes, places, strict=True)


def _read(code: CodeType, position: int) -> Source:
    first, last, start, end = list(code.co_positions())[position // 2]
    if first is None or last is None or start is None or end is None:
        return Source(code.co_filename, first or code.co_firstlineno, "")
    lines = [linecache.getline(code.co_filename, n).encode() for n in range(first, last + 1)]
    before, after = lines[0][:start].decode().strip(), lines[-1][end:].strip()
    lines[-1] = lines[-1][:end]
    text = " ".join(b"".join([lines[0][start:], *lines[1:]]).decode().split())
    if before.endswith(" =") and before[:-2].strip().isidentifier() and not after:
        text = f"{before} {text}"
    return Source(code.co_filename, first, text if len(text) <= LONGEST else text[: LONGEST - 4] + " ...")
