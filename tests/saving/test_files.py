"""The file of a model or a training: whole whatever happens."""

import errno
import functools
import hashlib
import io
import itertools
import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from saved_files import Models, Trainings, entries, make, npz, parts, refusal, same

from manual_bp._saving import replace

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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
