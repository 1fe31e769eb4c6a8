"""The file of a model or a training: whole whatever happens, and refused in one line if it is another file."""

import errno
import hashlib
import io
import os
import resource
import shutil
import socket
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from saved_files import Models, Trainings, compact, edit, entries, npz, parts, same, signed

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
    """The message with which a file is refused: one line, of few characters, for which no memory is taken."""
    tracemalloc.start()
    try:
        with pytest.raises(kind.error) as caught:
            kind.load(path)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert message.isprintable() and len(message) < 300 and str(path) in message
    return message


# A whole file, whatever happens


@pytest.mark.parametrize("over", [False, True])
@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()], ids=["full disk", "Ctrl-C"])
@pytest.mark.parametrize("where", ["open", "write", "flush", "fsync", "replace"])
def test_a_save_that_fails_leaves_what_was_there(where, error, over, kind, path, monkeypatch):
    if not over:
        path.unlink()
    with monkeypatch.context() as patch:
        fail_at(where, error, patch)
        with pytest.raises(KeyboardInterrupt if error is not FULL else kind.full):
            kind.save(path, seed=1)
    assert entries(path.parent) == ["file.safetensors"] * over
    assert not over or same(kind.load(path), kind.saved(0))
    kind.save(path, seed=1)
    assert same(kind.load(path), kind.saved(1))


def fail_at(where, error, patch):
    def fail(*args, **kwargs):
        raise error

    if where in ("fsync", "replace"):
        patch.setattr(os, where, fail)
    else:
        failing = type("Failing", (io.BufferedWriter,), {where: fail})
        opened = fail if where == "open" else lambda path, mode: failing(io.FileIO(path, "x"))
        patch.setattr(replace, "open", opened, raising=False)


def test_a_write_cut_short_by_the_system_leaves_what_was_there(kind, path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        with pytest.raises(kind.full, match="File too large"):
            kind.save(path, seed=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert entries(path.parent) == ["file.safetensors"] and same(kind.load(path), kind.saved(0))


@pytest.mark.parametrize("before", ["nothing", "old"])
def test_killed_at_any_moment_the_old_file_or_the_new_one_is_there(before, kind, path, tmp_path, monkeypatch):
    """The folder is copied before and after each call that changes it, as a kill would leave it."""
    if before == "nothing":
        path.unlink()
    right, moments = {name: getattr(os, name) for name in ("replace", "fsync", "open", "unlink")}, []

    def copied_around(name):
        def call(*args, **kwargs):
            with monkeypatch.context() as patch:
                for other in right:
                    patch.setattr(os, other, right[other])
                moments.append(shutil.copytree(path.parent, tmp_path / f"{len(moments)} before {name}"))
                result = right[name](*args, **kwargs)
                moments.append(shutil.copytree(path.parent, tmp_path / f"{len(moments)} after {name}"))
            return result

        return call

    with monkeypatch.context() as patch:
        for name in right:
            patch.setattr(os, name, copied_around(name))
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


@pytest.mark.parametrize("make", ["text", "npz", "directory", "fifo", "other kind", "other safetensors"])
def test_nothing_else_is_replaced(make, kind, path):
    path.unlink()
    if make == "directory":
        path.mkdir()
    elif make == "fifo":
        os.mkfifo(path)
    elif make == "other kind":
        (Trainings() if isinstance(kind, Models) else Models()).save(path)
        assert f"holds a {'training' if isinstance(kind, Models) else 'model'}; expected a" in refusal(kind, path)
    else:
        contents = {"text": b"mine", "npz": npz(), "other safetensors": safetensors.numpy.save({"a": np.zeros(3)})}
        path.write_bytes(contents[make])
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
        ((2**40).to_bytes(8, "little") + b"{}", "is a safetensors file that was cut short; expected"),
        ((10**5).to_bytes(8, "little") + b'{"a":' + b"[" * (10**5), "is a safetensors file of another program"),
    ],
)
def test_a_file_of_something_else(data, message, kind, path):
    path.write_bytes(data)
    found = refusal(kind, path)
    assert message in found and kind.expected in found


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("make", ["directory", "fifo", "device", "socket", "nothing"])
def test_what_is_not_a_regular_file(make, link, kind, path, monkeypatch):
    path.unlink()
    monkeypatch.chdir(path.parent)  # the path of a socket is short
    name = path.with_name("end") if link else path
    if link:
        path.symlink_to("end")
    if make == "directory":
        name.mkdir()
    elif make == "fifo":
        os.mkfifo(name)
    elif make == "device":
        name.symlink_to("/dev/zero")
    elif make == "socket":
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(name.name)
    why = {"directory": "Is a directory", "socket": "No such device", "nothing": "No such file"}
    if make != "nothing" or isinstance(kind, Models):
        assert f"can't be read ({why.get(make, 'a fifo or a device, not a regular file')}" in refusal(kind, path)
    else:
        assert same(kind.load(path), kind.saved(99))  # a new training


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "recipe"}, "holds a recipe; expected"),
        ({"version": 2, "manual_bp": "0.9.0"}, "has format version 2, of manual_bp 0.9.0; expected at most 1: update"),
        ({"version": 10**6, "sizes": None}, "has format version 1000000"),
        ({"version": "1"}, "is a safetensors file of another program"),
        ({"manual_bp": "\n"}, "is a safetensors file of another program"),
    ],
)
def test_another_kind_and_another_version(fields, message, kind, path):
    edit(path, **fields)
    assert message in refusal(kind, path)


def member(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


DAMAGED = {
    "more claimed than held": ({"a": member(shape=(10**12,), offsets=(0, 4 * 10**12))}, bytes(8)),
    "a size past 64 bits": ({"a": member(shape=(2**63, 2**63))}, bytes(8)),
    "bytes that no member has": ({"a": member()}, bytes(9)),
    "overlapping members": ({"a": member(), "b": member()}, bytes(8)),
    "members with a gap": ({"a": member(), "b": member(offsets=(16, 24))}, bytes(24)),
    "backward offsets": ({"a": member(offsets=(8, 0))}, bytes(8)),
    "a shape that does not fit": ({"a": member(shape=(3,))}, bytes(8)),
    "an unknown dtype": ({"a": member(dtype="Q7")}, bytes(8)),
    "a dtype that NumPy lacks": ({"a": member(dtype="F4", shape=(16,))}, bytes(8)),
    "a member that is no object": ('"a":7', b""),
    "a negative shape": ({"a": member(shape=(-2,))}, bytes(8)),
    "no JSON": ('"a"', b""),
    "deep nesting": ('"a":' + "[" * 10**5, b""),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_header_that_does_not_fit_the_file(damage, kind, path):
    """The digest is right, so that the damage reaches the parser."""
    members, body = DAMAGED[damage]
    edit(path, members=members, body=body)
    assert "is damaged: its header cannot be read (" in refusal(kind, path)


def test_a_description_that_nests_deeply(kind, path):
    about, members, body = parts(path.read_bytes())
    path.write_bytes(signed(compact(about)[:-1] + ',"extra":' + "[" * 10**5, members, body))
    assert "is damaged: its header cannot be read (" in refusal(kind, path)


@pytest.mark.parametrize("length", [1, 2**25 + 1, 2**31, 2**63, 2**64 - 1])
def test_a_header_of_another_length(length, kind, path):
    about, members, body = parts(path.read_bytes())
    path.write_bytes(signed(compact(about), members, body, length))
    assert "is damaged: it" in refusal(kind, path)


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
    for function, error in ((kind.load, kind.error), (kind.save, (FileExistsError, kind.error))):
        with pytest.raises(error) as caught:
            function(path)
        assert str(caught.value).isprintable() and len(str(caught.value)) < 300


@pytest.mark.parametrize("name", [None, 3, b"model", "a\0b", ["x"] * 1000])
def test_paths_of_another_type(name, kind):
    if name is not None or isinstance(kind, Models):
        for function in (kind.save, kind.load):
            with pytest.raises(
                TypeError, match="^(path|checkpoint) is .*; expected the path of a file, such as"
            ) as caught:
                function(name)
            assert len(str(caught.value)) < 300
