"""The file of a model or a training: whole whatever happens, and refused in one line if it is another file."""

import errno
import functools
import hashlib
import io
import itertools
import os
import resource
import shutil
import socket
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from saved_files import Models, Trainings, edit, entries, npz, parts, refused, same

from manual_bp._saving import replace

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture(params=[Models(), Trainings()], ids=["model", "training"])
def kind(request):
    return request.param


@pytest.fixture
def path(kind, tmp_path):
    """A saved file, alone in its folder."""
    kind.save(tmp_path / "folder" / "file.safetensors")
    return tmp_path / "folder" / "file.safetensors"


def refusal(kind, path) -> str:
    """The message with which a file is refused, for which no memory is taken."""
    tracemalloc.start()
    try:
        message = refused(kind.error, kind.load, path)
        assert tracemalloc.get_traced_memory()[1] < 5e6 and str(path) in message
    finally:
        tracemalloc.stop()
    return message


# A whole file, whatever happens


@pytest.mark.parametrize("over", [False, True])
@pytest.mark.parametrize(
    ("error", "where"),
    [*itertools.product([FULL, KeyboardInterrupt()], ["open", "write", "flush", "fsync", "replace"]), (FULL, "limit")],
)
def test_a_save_that_fails_leaves_what_was_there(where, error, over, kind, path, monkeypatch):
    if not over:
        path.unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fail(*args, **kwargs):
        raise error

    with monkeypatch.context() as patch:
        if where in ("fsync", "replace"):
            patch.setattr(os, where, fail)
        elif where == "limit":  # of the system
            resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
        else:
            failing = type("Failing", (io.BufferedWriter,), {where: fail})
            opened = fail if where == "open" else lambda path, mode: failing(io.FileIO(path, "x"))
            patch.setattr(replace, "open", opened, raising=False)
        try:
            with pytest.raises(kind.full if error is FULL else KeyboardInterrupt):
                kind.save(path, seed=1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert entries(path.parent) == ["file.safetensors"] * over
    assert not over or same(kind.load(path), kind.saved(0))
    kind.save(path, seed=1)
    assert same(kind.load(path), kind.saved(1))


@pytest.mark.parametrize("before", ["nothing", "old"])
def test_killed_at_any_moment_the_old_file_or_the_new_one_is_there(before, kind, path, tmp_path, monkeypatch):
    """The folder is copied before and after each call that changes it, as a kill would leave it."""
    if before == "nothing":
        path.unlink()
    moments = []

    def copied_around(call, *args):
        moments.append(shutil.copytree(path.parent, tmp_path / f"{len(moments)}"))
        call(*args)
        moments.append(shutil.copytree(path.parent, tmp_path / f"{len(moments)}"))

    with monkeypatch.context() as patch:
        for name in ("replace", "fsync"):
            patch.setattr(os, name, functools.partial(copied_around, getattr(os, name)))
        kind.save(path, seed=1)
    new = unfinished = 0
    for moment in moments:
        unfinished += any(entry.startswith(".saving-") for entry in entries(moment))
        if (moment / path.name).exists():
            found = kind.load(moment / path.name)
            new += same(found, kind.saved(1))
            assert same(found, kind.saved(int(new > 0)))  # and never the old one again
        else:
            assert before == "nothing" and not new
        kind.save(moment / path.name, seed=2)
        assert same(kind.load(moment / path.name), kind.saved(2)) and entries(moment) == [path.name]
    assert new >= 2 and unfinished >= 2


def test_only_the_next_save_of_the_same_file_removes_what_a_crash_left(kind, path, monkeypatch):
    other = path.with_name("other.safetensors")

    def fail(*args, **kwargs):
        raise FULL

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        patch.setattr(Path, "unlink", fail)
        with pytest.raises(kind.full, match="space"):
            kind.save(path, seed=1)
    (left,) = set(entries(path.parent)) - {path.name}
    kind.save(other)
    assert entries(path.parent) == sorted([left, path.name, other.name])
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fail)
        kind.save(path, seed=2)  # what cannot be removed is no reason to fail
    assert same(kind.load(path), kind.saved(2)) and left in entries(path.parent)
    kind.save(path, seed=3)
    assert entries(path.parent) == [path.name, other.name]


def test_everything_is_flushed_and_nothing_raises_after_the_rename(kind, tmp_path, monkeypatch):
    target, flushed, right = tmp_path / "a" / "b" / "file", [], os.fsync

    def fsync(descriptor):
        size = os.fstat(descriptor).st_size
        flushed.append((os.readlink(f"/proc/self/fd/{descriptor}"), size, target.exists()))
        if target.exists():
            raise OSError(errno.EIO, "the disk is gone")
        right(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    kind.save(target)
    (name, size, renamed), *folders = flushed
    assert name.startswith(f"{target.parent}/.saving-") and size == target.stat().st_size and not renamed
    assert {(name, renamed) for name, _, renamed in folders} == {
        (str(folder), True) for folder in (target.parent, target.parent.parent, tmp_path)
    }
    assert same(kind.load(target), kind.saved(0))


def test_links_are_followed_and_the_umask_holds(kind, path, tmp_path):
    (tmp_path / "link").symlink_to(path)
    kind.save(tmp_path / "link", seed=1)
    assert (tmp_path / "link").is_symlink() and same(kind.load(path), kind.saved(1))
    (tmp_path / "new link").symlink_to(tmp_path / "new" / "file")
    kind.save(tmp_path / "new link", seed=2)
    assert same(kind.load(tmp_path / "new" / "file"), kind.saved(2))
    old = os.umask(0)
    os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o666 & ~old


def test_a_file_replaced_while_it_is_read_is_the_old_one(kind, path, monkeypatch):
    right = hashlib.file_digest

    def file_digest(*args):
        kind.save(path, seed=1)
        return right(*args)

    monkeypatch.setattr(hashlib, "file_digest", file_digest)
    assert same(kind.load(path), kind.saved(0))


def test_the_same_content_makes_the_same_file_in_the_format_of_safetensors(kind, path):
    data = path.read_bytes()
    kind.save(path)
    assert path.read_bytes() == data
    about, members, _ = parts(data)
    assert safetensors.numpy.load(data).keys() == members.keys() and about["version"] == 1


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


CONTENTS = {"text": b"mine", "npz": npz(), "other safetensors": safetensors.numpy.save({"a": np.zeros(3)})}


@pytest.mark.parametrize("what", [*CONTENTS, "directory", "fifo", "other kind"])
def test_nothing_else_is_replaced(what, kind, path):
    path.unlink()
    make(what, path)
    if what == "other kind":
        (Trainings() if isinstance(kind, Models) else Models()).save(path)
        assert f"holds a {'training' if isinstance(kind, Models) else 'model'}; expected a" in refusal(kind, path)
    elif what in CONTENTS:
        path.write_bytes(CONTENTS[what])
    before = path.stat()
    with pytest.raises((FileExistsError, kind.error), match="expected a new path or|could not be written"):
        kind.save(path)
    assert path.stat().st_ino == before.st_ino and path.stat().st_size == before.st_size
    assert entries(path.parent) == [path.name]


def test_an_empty_file_is_filled(kind, path):
    path.write_bytes(b"")
    kind.save(path)
    assert same(kind.load(path), kind.saved(0))


# What is refused


def test_every_flipped_byte_and_every_cut_is_found(kind, path):
    data, rng = path.read_bytes(), np.random.default_rng(0)
    descriptor = os.open(path, os.O_RDWR)
    for place in range(len(data)):
        os.pwrite(descriptor, bytes([data[place] ^ 1 << rng.integers(8)]), place)
        with pytest.raises(kind.error):
            kind.load(path)
        os.pwrite(descriptor, data[place : place + 1], place)
    assert same(kind.load(path), kind.saved(0))
    for length in reversed(range(len(data))):
        os.ftruncate(descriptor, length)
        with pytest.raises(kind.error):
            kind.load(path)
    os.close(descriptor)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty; expected"),
        (b"W1, b1\n1.0, 2.0\n", "is a text file; expected"),
        (b'{"key": {"a": 1}}', "is a text file; expected"),
        (npz(), "is a .zip or .npz archive; expected"),
        (b"\x80\x04\x95\x00\x00", "is of an unknown format; expected"),
        (bytes(1000), "is of an unknown format; expected"),
        (safetensors.numpy.save({"a": np.zeros(3)}), "is a safetensors file of another program, or damaged; expected"),
        (safetensors.numpy.save({"a": np.zeros(3)}, {"manual_bp": "mine"}), "is a safetensors file of another program"),
        (safetensors.numpy.save({"a": np.zeros(3)})[:40], "is a safetensors file that was cut short; expected"),
        ((10**5).to_bytes(8, "little") + b'{"a":' + b"[" * (10**5), "is a safetensors file of another program"),
    ],
)
def test_a_file_of_something_else(data, message, kind, path):
    path.write_bytes(data)
    found = refusal(kind, path)
    assert message in found and kind.expected in found


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("what", ["directory", "fifo", "device", "socket", "nothing"])
def test_what_is_not_a_regular_file(what, link, kind, path, monkeypatch):
    path.unlink()
    monkeypatch.chdir(path.parent)
    if link:
        path.symlink_to("end")
    make(what, path.with_name("end") if link else path)
    why = {"directory": "Is a directory", "socket": "No such device", "nothing": "No such file"}
    if what != "nothing" or isinstance(kind, Models):
        assert f"can't be read ({why.get(what, 'a fifo or a device, not a regular file')}" in refusal(kind, path)
    else:
        assert same(kind.load(path), kind.saved(99))  # a new training


def member(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


HEADER = "is damaged: its header cannot be read ("
CRAFTED = {
    "another kind": (dict(kind="recipe"), "holds a recipe; expected"),
    "another version": (
        dict(version=2, manual_bp="0.9.0"),
        "has format version 2, of manual_bp 0.9.0; expected at most 1: update",
    ),
    "another version, other fields": (dict(version=10**6, sizes=None), "has format version 1000000"),
    "a version that is text": (dict(version="1"), "is a safetensors file of another program"),
    "a library of no version": (dict(manual_bp="\n"), "is a safetensors file of another program"),
    **{f"header of {n} bytes": (dict(length=n), "is damaged: it") for n in (1, 2**25 + 1, 2**31, 2**63, 2**64 - 1)},
    "a description that nests deeply": (dict(nested="[" * 10**5), HEADER),
    "no JSON": (dict(members='"a"', body=b""), HEADER),
    "deep nesting": (dict(members='"a":' + "[" * 10**5, body=b""), HEADER),
    "a member that is no object": (dict(members='"a":7', body=b""), HEADER),
}
MEMBERS = {
    "more claimed than held": [member(shape=(10**12,), offsets=(0, 4 * 10**12))],
    "a size past 64 bits": [member(shape=(2**63, 2**63))],
    "overlapping members": [member(), member()],
    "backward offsets": [member(offsets=(8, 0))],
    "a shape that does not fit": [member(shape=(3,))],
    "an unknown dtype": [member(dtype="Q7")],
    "a dtype that NumPy lacks": [member(dtype="F4", shape=(16,))],
    "a negative shape": [member(shape=(-2,))],
    "members with a gap": [member(offsets=(0, 4)), member(shape=(1,), offsets=(6, 8))],
    "bytes that no member has": [member(shape=(1,), offsets=(0, 4))],
}
CRAFTED |= {
    n: (dict(members=dict(zip("ab", made, strict=False)), body=bytes(8)), HEADER) for n, made in MEMBERS.items()
}


@pytest.mark.parametrize("crafted", CRAFTED)
def test_a_header_that_does_not_fit_the_file(crafted, kind, path):
    fields, message = CRAFTED[crafted]
    edit(path, **fields)
    assert message in refusal(kind, path)


def test_a_file_that_is_large_and_empty_takes_no_memory(kind, path):
    with path.open("r+b") as file:
        file.truncate(3 * 10**8)
    assert "is damaged: it is cut short, or its content does not match its digest" in refusal(kind, path)
    with path.open("r+b") as file:
        file.write((2**27).to_bytes(8, "little"))
    assert "header's length is wrong" in refusal(kind, path)


def test_a_long_path_with_a_line_break(kind, tmp_path):
    path = tmp_path / ("a\n" + "b" * 200)
    path.write_bytes(b"mine")
    refused(kind.error, kind.load, path)
    refused((FileExistsError, kind.error), kind.save, path)


@pytest.mark.parametrize("name", [None, 3, b"model", "a\0b", ["x"] * 1000])
def test_paths_of_another_type(name, kind):
    if name is not None or isinstance(kind, Models):
        for function in (kind.save, kind.load):
            message = refused(TypeError, function, name)
            assert message.startswith(("path is ", "checkpoint is "))
            assert "; expected the path of a file, such as" in message
