"""The one format on disk: a safetensors file that begins with a digest of itself.

The entry `manual_bp` of the header's `__metadata__` is an object as JSON text. It begins with the SHA-256 digest of the
whole file, taken with zeros in its own place, the kind of content, the version of the format and that of the library.
A file is neither parsed nor kept in memory before its digest was found right.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy

from manual_bp._saving.replace import replace
from manual_bp._version import __version__

VERSION, NONBLOCK = 1, getattr(os, "O_NONBLOCK", 0)
MAX_HEADER = 2**25  # bytes: what JSON becomes takes many times the memory of its text
ZEROS = b"0" * 64
# After the first 8 bytes, which hold the length of the header
PREFIX = b'{"__metadata__":{"manual_bp":"{\\"sha256\\":\\"'
START = re.compile(
    re.escape(PREFIX) + rb'([0-9a-f]{64})\\",\\"kind\\":\\"(?P<kind>[a-z]{1,20})\\",'
    rb'\\"version\\":(?P<version>[1-9][0-9]{0,8}),\\"manual_bp\\":\\"(?P<library>[0-9A-Za-z.+-]{1,40})\\"'
)
DIGEST = slice(8 + len(PREFIX), 8 + len(PREFIX) + 64)
DTYPES = {
    "BOOL": "bool", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64", "U8": "uint8", "U16": "uint16",
    "U32": "uint32", "U64": "uint64", "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
    "C64": "complex64", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip


class Kind(NamedTuple):
    """A kind of content: its name in the file, words for messages, and the class of its errors."""

    name: str
    expected: str
    way_out: str
    error: type[ValueError]

    def refusal(self, path: Path, came: str) -> ValueError:
        return self.error(f"{shown(path, 120)} {came}; expected {self.expected}")

    def damage(self, path: Path, why: str) -> ValueError:
        return self.error(f"{shown(path, 120)} is damaged: {why}; {self.way_out}")

    @contextlib.contextmanager
    def reading(self, path: Path, part: str) -> Iterator[None]:
        """Report an error in the block as damage to this part of the file, which can have any content."""
        try:
            yield
        except self.error:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, safetensors.SafetensorError) as error:
            raise self.damage(path, f"its {part} cannot be read ({shown(error, 100)})") from None


def write(path: Path, kind: Kind, content: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Save content, which JSON can hold, and arrays; only a file of the same kind is replaced."""
    for name, array in arrays.items():
        if array.dtype.name not in DTYPES.values():
            raise TypeError(f"{name} has dtype {array.dtype}; expected one of {', '.join(DTYPES.values())}")
    about = {"sha256": ZEROS.decode(), "kind": kind.name, "version": VERSION, "manual_bp": __version__}
    about |= content
    # safetensors takes the memory of an array as it lies, without regard to strides
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    data = memoryview(safetensors.numpy.save(arrays, {"manual_bp": json.dumps(about, separators=(",", ":"))}))
    if (length := int.from_bytes(data[:8], "little")) > MAX_HEADER:
        raise ValueError(f"what is not an array takes {length:,} bytes as JSON; expected at most {MAX_HEADER:,}")
    assert START.match(data, 8), "safetensors writes its header in another way"
    try:
        with _open(path) as file:
            there = _description(file.read(512), os.fstat(file.fileno()).st_size)
    except FileNotFoundError:
        there = "is empty"
    except OSError as error:
        there = f"can't be read ({error.strerror})"
    if there not in ("is empty", f"holds a {kind.name}"):
        raise FileExistsError(f"{shown(path, 120)} {there}; expected a new path or {kind.expected}")
    replace(path, (data[: DIGEST.start], hashlib.sha256(data).hexdigest().encode(), data[DIGEST.stop :]))


def read(path: Path, kind: Kind) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The content and the arrays of a file that `write` wrote; any other file is refused in one line."""
    try:
        with _open(path) as file:
            data = _checked(path, kind, file)
    except OSError as error:
        raise kind.refusal(path, f"can't be read ({error.strerror})") from None
    with kind.reading(path, "header"):
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        content = json.loads(header["__metadata__"]["manual_bp"])
        arrays = {
            name: np.frombuffer(member["data"], DTYPES[member["dtype"]]).reshape(member["shape"])
            for name, member in safetensors.deserialize(data)
        }
        return content, arrays


def as_path(name: str, value: Any) -> Path:
    """The argument of this name as a path."""
    if not isinstance(value, str | os.PathLike) or "\0" in str(value):
        raise TypeError(f"{name} is {shown(repr(value))}; expected the path of a file, such as 'model.safetensors'")
    return Path(value)


def shown(value: Any, most: int = 80) -> str:
    """The value as text for a message: on one line, its middle left out where it is long."""
    text = str(value)
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= most else f"{text[: 2 * most // 3]}...{text[3 - most // 3 :]}"


def _open(path: Path) -> BufferedReader:
    """Open a regular file for reading. Opening a fifo does not wait for a writer."""
    file: BufferedReader = open(path, "rb", opener=lambda name, flags: os.open(name, flags | NONBLOCK))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "a fifo or a device, not a regular file")
    return file


def _checked(path: Path, kind: Kind, file: BufferedReader) -> bytes:
    """All bytes of the file, after its digest was found right."""
    size, start = os.fstat(file.fileno()).st_size, file.read(512)
    found = START.match(start, 8)
    if not found or found["kind"].decode() != kind.name:
        raise kind.refusal(path, _description(start, size))
    if int(found["version"]) > VERSION:
        newer = f"has format version {int(found['version'])}, of manual_bp {found['library'].decode()}"
        raise kind.error(f"{shown(path, 120)} {newer}; expected at most {VERSION}: update manual_bp")
    if int.from_bytes(start[:8], "little") > min(size - 8, MAX_HEADER):
        raise kind.damage(path, f"it is cut short, at {size:,} bytes, or its header's length is wrong")
    file.seek(DIGEST.stop)
    before = start[: DIGEST.start] + ZEROS
    if hashlib.file_digest(file, lambda: hashlib.sha256(before)).hexdigest().encode() != start[DIGEST]:
        raise kind.damage(path, "it is cut short, or its content does not match its digest (SHA-256)")
    file.seek(0)
    return file.read(size)


def _description(start: bytes, size: int) -> str:
    """A few words for a file of another kind, by how it starts."""
    if found := START.match(start, 8):
        return f"holds a {found['kind'].decode()}"
    if start[6:9] == b"\0\0{":
        cut = int.from_bytes(start[:8], "little") > size - 8
        return f"is a safetensors file {'that was cut short' if cut else 'of another program, or damaged'}"
    if start.startswith(b"PK\x03\x04"):
        return "is a .zip or .npz archive"
    text = "".join(start.decode(errors="ignore").split())
    return "is empty" if not start else "is a text file" if text.isprintable() and text else "is of an unknown format"
