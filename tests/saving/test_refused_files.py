"""A file that is not that of a model or a training is refused in one line."""

import os

import numpy as np
import pytest
import safetensors.numpy
from saved_files import Models, edit, make, npz, refusal, refused, same


def test_every_flipped_byte_and_every_cut_is_found(kind, path, deep):
    data, rng = path.read_bytes(), np.random.default_rng(0)
    # without --deep the beginning, the end, and every 7th between
    places = [i for i in range(len(data)) if deep or i < 32 or i % 7 == 0 or i > len(data) - 8]
    descriptor = os.open(path, os.O_RDWR)
    for place in places:
        os.pwrite(descriptor, bytes([data[place] ^ 1 << rng.integers(8)]), place)
        with pytest.raises(kind.error):
            kind.load(path)
        os.pwrite(descriptor, data[place : place + 1], place)
    assert same(kind.load(path), kind.saved(0))
    for length in reversed(places):
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
