"""Saved models and trainings under one interface, and files made to look like them."""

import functools
import hashlib
import io
import json
import os
import socket
import tracemalloc
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import manual_bp as bp
from manual_bp._saving.file import DIGEST, ZEROS
from manual_bp._training.checkpoint import Checkpoint, Progress

ADAM = optax.adam(0.1)
NETWORK = bp.Network((3, 5, 2), "tanh")


def init(network=NETWORK, seed=0, dtype="float64"):
    return bp.init(network, jax.random.key(seed), dtype)


@functools.cache
def progress(seed=0, network=NETWORK, optimizer=ADAM, dtype="float32", impl=None, epochs=1) -> Progress:
    key = jax.random.key(seed, impl=impl)
    state = bp.train_state(network, optimizer, key, init(network, seed, dtype))
    return Progress(state, init(network, seed + 1, dtype), history(epochs))


def history(epochs) -> bp.History:
    columns: Any = ([value] * epochs for value in (0.1, float("inf"), None, -0.0, 1e-300, 7))
    return bp.History(*columns)


class Models:
    """`bp.save` and `bp.load`."""

    error, full = bp.SavedModelError, OSError
    expected = "expected a model saved by bp.save"

    def save(self, path, seed=0):
        bp.save(path, NETWORK, init(seed=seed), {"seed": seed})

    def load(self, path):
        return bp.load(path).params

    def saved(self, seed):
        return init(seed=seed)


class Trainings:
    """The checkpoints of `bp.fit`."""

    error, full = bp.CheckpointError, bp.CheckpointError
    expected = "expected a training saved by bp.fit"

    def save(self, path, seed=0):
        Checkpoint(path, 1, NETWORK).save(progress(seed), last=False)

    def load(self, path):
        return Checkpoint(path, 1, NETWORK).begin(progress(99), resume=True)[:2]

    def saved(self, seed):
        return progress(seed)[:2]


def refused(error, function, *args, **kwargs) -> str:
    """The message with which a call is refused: one line of few characters."""
    with pytest.raises(error) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 300
    return message


def refusal(kind, path) -> str:
    """The message with which a file is refused, for which no memory is taken."""
    tracemalloc.start()
    try:
        message = refused(kind.error, kind.load, path)
        assert tracemalloc.get_traced_memory()[1] < 5e6 and str(path) in message
    finally:
        tracemalloc.stop()
    return message


def is_key(leaf) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def same(a, b) -> bool:
    """Whether two trees agree in structure and in all that a leaf has, bit for bit."""
    alike = [_everything(leaf) for leaf in jax.tree.leaves(a)] == [_everything(leaf) for leaf in jax.tree.leaves(b)]
    return alike and jax.tree.structure(a) == jax.tree.structure(b)


def _everything(leaf):
    if isinstance(leaf, int | float) and not isinstance(leaf, np.generic):
        return type(leaf), repr(leaf)
    raw = np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
    properties = ("dtype", "shape", "sharding", "committed", "weak_type")
    return type(leaf), *(getattr(leaf, name, None) for name in properties), raw.tobytes()


def entries(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*"))


def parts(data: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """The description, the members and the arrays' bytes of a file."""
    length = int.from_bytes(data[:8], "little")
    members = json.loads(data[8 : 8 + length])
    return json.loads(members.pop("__metadata__")["manual_bp"]), members, data[8 + length :]


def edit(path: Path, members=None, body=None, length=None, nested="", **fields) -> None:
    """Change fields of the description (None leaves one out), members, bytes or the header's length.

    The description can be made to end in nested text. The digest is right again, so that the change reaches the parser.
    """
    about, old, data = parts(path.read_bytes())
    about = {name: value for name, value in (about | fields | {"sha256": ZEROS.decode()}).items() if value is not None}
    text = json.dumps(about, separators=(",", ":"))
    text = f'{text[:-1]},"extra":{nested}' if nested else text
    members = old if members is None else members(old) if callable(members) else members
    rest = members if isinstance(members, str) else json.dumps(members)[1:-1]
    header = f'{{"__metadata__":{{"manual_bp":{json.dumps(text)}}},{rest}}}'.encode()
    length = len(header) if length is None else length
    made = bytearray(length.to_bytes(8, "little") + header + (data if body is None else body))
    made[DIGEST] = hashlib.sha256(made).hexdigest().encode()
    path.write_bytes(made)


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, W1=np.zeros((5, 3)))
    return file.getvalue()


def make(what, path):
    """Something other than a regular file at the path; a socket's path must be short."""
    if what == "directory":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(path.name)
