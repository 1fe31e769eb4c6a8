"""A saved model comes back bit for bit, or not at all and with a reason; what was there before is never lost."""

import errno
import functools
import hashlib
import io
import json
import os
import resource
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import manual_bp as bp
from manual_bp._activations import ACTIVATIONS
from manual_bp._saving import model as saving
from manual_bp._saving import write
from manual_bp._saving.model import load, save
from manual_bp._saving.read import SavedModelError

NETWORK = bp.Network((3, 5, 2), "tanh")
DEEP = bp.Network((4, 7, 1, 6, 3), ("elu", "gelu", "silu"), "sigmoid")
DTYPES = ("float32", "float64", "bfloat16")
BITS = {"float32": np.uint32, "float64": np.uint64, "bfloat16": np.uint16}


def init(network=NETWORK, seed=0, dtype="float64"):
    return bp.init(network, jax.random.key(seed), dtype)


def bits(params):
    return [np.asarray(leaf).view(BITS[leaf.dtype.name]).tolist() for leaf in jax.tree.leaves(params)]


def same(a, b):
    return jax.tree.structure(a) == jax.tree.structure(b) and bits(a) == bits(b)


@pytest.fixture
def path(tmp_path):
    """Of a saved model, alone in its directory."""
    save(tmp_path / "model", NETWORK, init(), {"seed": 0})
    return tmp_path / "model"


def weights_of(path):
    (file,) = path.glob("weights-*.npz")
    return file


def edit(path, **fields):
    """model.json with other fields; None leaves one out."""
    model = json.loads((path / "model.json").read_text()) | fields
    (path / "model.json").write_text(json.dumps({key: value for key, value in model.items() if value is not None}))


def replace_weights(path, data):
    """Other weights, whose checksum is right."""
    sha256 = hashlib.sha256(data).hexdigest()
    weights_of(path).unlink()
    (path / f"weights-{sha256[:16]}.npz").write_bytes(data)
    edit(path, sha256=sha256)


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


# What comes back


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("network", [NETWORK, DEEP, bp.Network((4, 1), (), "identity", "absolute_error")])
def test_round_trip_is_bit_for_bit(network, dtype, tmp_path):
    params = init(network, dtype=dtype)
    save(tmp_path / "model", network, params)
    found = load(tmp_path / "model")
    assert found.network == network and found.extra == {} and same(found.params, params)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(found.params))
    assert isinstance(found.params[0], bp.Layer)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_kind_of_number_survives(dtype, tmp_path):
    """Zeros of both signs, infinities, subnormal numbers, and each bit of a NaN."""
    unsigned = BITS[dtype]
    ones = int(np.iinfo(unsigned).max)
    inf = int(np.array(np.inf, jnp.dtype(dtype)).view(unsigned))
    patterns = np.array([0, ones // 2 + 1, 1, 3, inf, inf + ones // 2 + 1, inf + 1, inf + 5, ones], unsigned)
    W = jnp.array(patterns.view(dtype)[:, None])
    params = (bp.Layer(W, W[::-1]),)
    save(tmp_path / "model", bp.Network((1, 9)), params)
    found = load(tmp_path / "model")
    assert same(found.params, params) and bits(found.params)[0] == patterns[:, None].tolist()


@pytest.mark.parametrize("output", ACTIVATIONS)
@pytest.mark.parametrize("cost", ["squared_error", "absolute_error", "cross_entropy"])
def test_every_named_activation_and_cost_comes_back(output, cost, tmp_path):
    if cost == "cross_entropy" and output not in ("sigmoid", "softmax"):
        cost = "squared_error"
    network = bp.Network((3, 4, 2), "relu" if output == "softmax" else output, output, cost)
    save(tmp_path / "model", network, init(network))
    assert load(tmp_path / "model").network == network
    described = json.loads((tmp_path / "model" / "model.json").read_text())
    assert (described["output"], described["cost"]) == (output, cost)


def test_extra_comes_back(tmp_path):
    extra = {
        "classes": ["a", "ä", "\ud800"],
        "means": [0.1, -0.0, 1e-320, 2**53 + 1],
        "on": True,
        "none": None,
        "d": {},
    }
    save(tmp_path / "model", NETWORK, init(), extra)
    assert repr(load(tmp_path / "model").extra) == repr(extra)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ([1], "extra is a list; expected a dict"),
        ({"mean": np.zeros(3)}, "ndarray is not JSON serializable; .* pass array.tolist"),
        ({"mean": float("nan")}, "Out of range float values .*; expected .* finite numbers"),
        ({"shape": (1, 2)}, "tuples would come back as lists"),
        ({0: "cat"}, "keys as text; expected text keys"),
        ({"big": 10**5000}, "would not come back from JSON"),
    ],
)
def test_extra_that_json_would_change_is_refused(extra, message, tmp_path):
    with pytest.raises(TypeError, match=message):
        save(tmp_path / "model", NETWORK, init(), extra)
    assert os.listdir(tmp_path) == []


def test_params_of_another_network_are_not_saved(tmp_path):
    with pytest.raises(ValueError, match=r"params has 4 layers; expected 2"):
        save(tmp_path / "model", NETWORK, init(DEEP))
    with pytest.raises(TypeError, match="network is a str; expected a bp.Network"):
        save(tmp_path / "model", "relu", init())  # pyright: ignore[reportArgumentType]
    assert os.listdir(tmp_path) == []


def test_predictions_are_the_same(path):
    X = jax.random.normal(jax.random.key(1), (3, 4))
    found = load(path)
    np.testing.assert_array_equal(bp.predict(found.network, found.params, X), bp.predict(NETWORK, init(), X))


# Functions of one's own


def sine(Z):
    return jnp.sin(Z)


def sine_prime(Z, A):
    return jnp.cos(Z)


def scaled(scale, Z):
    return scale * Z


def scaled_prime(Z, A):
    return 2 * jnp.ones_like(Z)


def quartic(A, Y):
    return jnp.sum((A - Y) ** 4, axis=0)


def quartic_dA(A, Y):
    return 4 * (A - Y) ** 3


@pytest.mark.parametrize(
    ("network", "name"),
    [
        (bp.Network((3, 5, 2), bp.Activation(sine, sine_prime)), "sine"),
        (bp.Network((3, 5, 2), output="identity", cost=bp.Cost(quartic, quartic_dA)), "quartic"),
        # repr has an address, which is another one in the next process
        (bp.Network((3, 5, 2), bp.Activation(functools.partial(scaled, 2), scaled_prime)), "partial"),
    ],
)
def test_own_functions_come_from_the_caller(network, name, tmp_path):
    save(tmp_path / "model", network, init(network))
    assert "0x" not in (tmp_path / "model" / "model.json").read_text()
    with pytest.raises(SavedModelError, match=rf"a function of your own, '{name}', .* load\(path, network=...\)"):
        load(tmp_path / "model")
    found = load(tmp_path / "model", network=network)
    assert found.network is network and same(found.params, init(network))


def test_library_functions_made_by_hand_are_the_library_s(tmp_path):
    relu = ACTIVATIONS["relu"]
    again = bp.Activation(relu.g, relu.g_prime, relu.init, relu.g_second)
    save(tmp_path / "model", bp.Network((3, 5, 2), again), init())
    assert load(tmp_path / "model").network == bp.Network((3, 5, 2), "relu")
    save(tmp_path / "model", bp.Network((3, 5, 2), bp.Activation(relu.g, sine_prime)), init())
    with pytest.raises(SavedModelError, match="your own, 'relu'"):
        load(tmp_path / "model")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (bp.Network((3, 6, 2), "tanh"), r"network has sizes \[3, 6, 2\]; expected \[3, 5, 2\], as .* has it: pass the"),
        (bp.Network((3, 5, 2), "relu"), r"network has hidden \['relu'\]; expected \['tanh'\]"),
        (bp.Network((3, 5, 2), bp.Activation(sine, sine_prime)), r"hidden \[{'own': 'sine'}\]; expected \['tanh'\]"),
        (bp.Network((3, 5, 2), "tanh", "sigmoid"), "network has output sigmoid; expected softmax"),
        (bp.Network((3, 5, 2), "tanh", cost="squared_error"), "cost squared_error; expected cross_entropy"),
    ],
)
def test_another_network_is_refused(network, message, path):
    with pytest.raises(SavedModelError, match=message):
        load(path, network=network)
    with pytest.raises(TypeError, match="network is a tuple; expected a bp.Network"):
        load(path, network=(3, 5, 2))  # pyright: ignore[reportArgumentType]


# Dtypes


def test_float64_is_not_narrowed_unasked(path):
    with jax.enable_x64(False):
        with pytest.raises(
            SavedModelError, match=r'W1 in .* has dtype float64, and JAX would make it float32: .*"jax_e'
        ):
            load(path)
        with pytest.raises(SavedModelError, match='or pass dtype="float32"'):
            load(path, dtype="float64")
        found = load(path, dtype="float32").params
    assert same(found, jax.tree.map(lambda leaf: leaf.astype(jnp.float32), init()))


@pytest.mark.parametrize("dtype", [*DTYPES, jnp.bfloat16, np.float32, float])
@pytest.mark.parametrize("saved", DTYPES)
def test_dtype_casts(saved, dtype, tmp_path):
    save(tmp_path / "model", NETWORK, init(dtype=saved))
    found = load(tmp_path / "model", dtype=dtype).params
    assert same(found, jax.tree.map(lambda leaf: leaf.astype(dtype), init(dtype=saved)))


@pytest.mark.parametrize("dtype", ["float16", int])
def test_dtype_of_another_kind_is_refused(dtype, path):
    with pytest.raises(TypeError, match=r"dtype is (float16|int64); expected float32, float64, bfloat16"):
        load(path, dtype=dtype)


# What is not a saved model, or no longer


def not_json(path):
    (path / "model.json").write_text("{")


def nested_json(path):
    (path / "model.json").write_text("[" * 100_000)


def no_model(path):
    (path / "model.json").unlink()


def no_weights(path):
    weights_of(path).unlink()


def a_directory_for_weights(path):
    file = weights_of(path)
    file.unlink()
    file.mkdir()


def a_directory_for_model(path):
    no_model(path)
    (path / "model.json").mkdir()


def a_file(path):
    shutil.rmtree(path)
    path.write_text("")


def shortened(path):
    weights_of(path).write_bytes(weights_of(path).read_bytes()[:-9])


def no_npz(path):
    replace_weights(path, b"PK\x03\x04 and no more")


def one_array(path):
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    replace_weights(path, file.getvalue())


def one_layer_less(path):
    replace_weights(path, npz(W1=np.zeros((5, 3)), b1=np.zeros((5, 1))))


def transposed(path):
    arrays = {"W1": np.zeros((3, 5)), "b1": np.zeros((5, 1)), "W2": np.zeros((2, 5)), "b2": np.zeros((2, 1))}
    replace_weights(path, npz(**arrays))


def fields(**changed):
    return lambda path: edit(path, **changed)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, r"model does not exist; expected the directory of a model saved by bp.save"),
        (a_file, "model is a file; expected the directory of a model"),
        (no_model, "is not a saved model: it has no model.json; pass a directory written by bp.save"),
        (a_directory_for_model, r"model.json can't be read \(Is a directory\); expected a file written by bp.save"),
        (not_json, "model.json is damaged: it is not JSON; copy the whole directory again, or save the model anew"),
        (nested_json, "model.json is damaged: it is not JSON"),
        (fields(format="other"), "is not a saved model: its model.json has no format 'manual_bp model'; pass"),
        (fields(version=2), r"has format version 2, of manual_bp \d.*; expected 1 at most, as .*: update it"),
        (fields(version="1"), "model.json is damaged: version is '1', expected 1; copy"),
        (fields(version=None), "version is missing, expected 1"),
        (fields(dtype="float16"), "dtype is 'float16', expected float32 or float64 or bfloat16"),
        (fields(dtype=[]), r"dtype is \[\], expected float32"),
        (fields(sha256="../../x"), r"sha256 is '../../x', expected 64 hexadecimal digits"),
        (fields(sha256=3), "sha256 is 3, expected"),
        (fields(sizes="abc"), "sizes is 'abc', expected a list"),
        (fields(hidden="tanh"), "hidden is 'tanh', expected a list"),
        (fields(output=7), "output is 7, expected a name"),
        (fields(cost=None), "cost is missing, expected a name"),
        (fields(extra=[]), r"extra is \[\], expected an object"),
        (fields(manual_bp=None), "manual_bp is missing, expected text"),
        (fields(sizes=[3, 2.5]), r"written by manual_bp \d.*, describes no network of this version: sizes is \[3, 2.5"),
        (fields(sizes=[3, 5, 5, 2]), "describes no network of this version: hidden has 1 activations; expected 2"),
        (fields(hidden=["swoosh"]), r"hidden\[0\] is 'swoosh'; expected one of identity, sigmoid"),
        (fields(hidden=[3]), r"hidden\[0\] is 3; expected the name"),
        (fields(output="relu"), "cross_entropy has output relu; expected 'sigmoid' or 'softmax'"),
        (fields(cost="mse"), "cost is 'mse'; expected one of squared_error"),
        (fields(output={}), "a function of your own, None, which is saved by name only"),
        (fields(sizes=[3, 6, 2]), r"W1 in .* has shape \(5, 3\) and dtype float64; expected \(6, 3\) and float64, as"),
        (fields(sizes=[3, 5, 5, 2], hidden=["relu", "relu"]), "holds W1, b1, W2, b2; expected W1, b1, W2, b2, W3, b3"),
        (fields(dtype="float32"), r"dtype float64; expected \(5, 3\) and float32, as .* and dtype float32"),
        (fields(dtype="bfloat16"), r"dtype float64; expected \(5, 3\) and uint16, as .* and dtype bfloat16"),
        (fields(sha256="a" * 64), r"weights-a{16}.npz, the weights of model.json, is missing; copy the whole"),
        (no_weights, "the weights of model.json, is missing"),
        (a_directory_for_weights, r"can't be read \(Is a directory\); expected the weights of model.json"),
        (shortened, r"is damaged: its checksum \(sha256\) is [0-9a-f]{16}..., expected [0-9a-f]{16}...; copy"),
        (no_npz, "is damaged: it is not an .npz of arrays; expected the weights that bp.save writes"),
        (one_array, "is damaged: it is not an .npz of arrays"),
        (one_layer_less, "holds W1, b1; expected W1, b1, W2, b2, as sizes is"),
        (transposed, r"W1 in .* has shape \(3, 5\) and dtype float64; expected \(5, 3\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded_says_why(damage, message, path):
    damage(path)
    with pytest.raises(SavedModelError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["model.json", "weights"])
def test_damage_anywhere_is_noticed(file, path):
    """A file cut at any place, or with one byte changed: refused in words, or the very model that was saved."""
    file = weights_of(path) if file == "weights" else path / file
    whole = file.read_bytes()
    step = max(1, len(whole) // 150)
    for i in range(0, len(whole), step):
        for damaged in (whole[:i], whole[:i] + bytes([whole[i] ^ 0x04]) + whole[i + 1 :]):
            file.write_bytes(damaged)
            try:
                found = load(path)
            except SavedModelError:
                continue
            # extra, and the name of the version, have no checksum
            assert file.name == "model.json" and same(found.params, init()) and found.network == NETWORK


def test_crafted_weights_raise_nothing_else(path):
    """The checksum is right, so that the damage reaches the parsers of .npz."""
    whole = weights_of(path).read_bytes()
    for i in range(0, len(whole), 7):
        for byte in (0, 0x7B, 0xFF):
            replace_weights(path, whole[:i] + bytes([byte]) + whole[i + 1 :])
            try:
                load(path)
            except SavedModelError as error:
                assert "\n" not in str(error)


class Payload:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def test_pickled_objects_are_refused_and_not_run(path, tmp_path):
    ran = tmp_path / "ran"
    arrays = {"W1": np.array([Payload(ran)], object), "b1": np.zeros((5, 1))}
    data = npz(**arrays)
    np.load(io.BytesIO(data), allow_pickle=True)["W1"]
    assert ran.exists()
    ran.unlink()
    file = io.BytesIO()
    np.save(file, arrays["W1"], allow_pickle=True)
    for weights in (data, file.getvalue(), np.array([Payload(ran)], object).dumps()):
        replace_weights(path, weights)
        with pytest.raises(SavedModelError, match="damaged: it holds Python objects, which are not run"):
            load(path)
        assert not ran.exists()


# Saving over


def entries(directory):
    return sorted(str(file.relative_to(directory)) for file in directory.rglob("*"))


def test_saving_over_leaves_the_new_model_alone(path):
    (path / "notes.txt").write_text("mine")
    for seed, network in ((1, NETWORK), (1, NETWORK), (2, DEEP)):
        save(path, network, init(network, seed))
        found = load(path)
        assert found.network == network and same(found.params, init(network, seed)) and found.extra == {}
        assert entries(path.parent) == [
            "model", "model/model.json", "model/notes.txt", f"model/{weights_of(path).name}"
        ]  # fmt: skip


def test_directories_are_made_and_links_followed(tmp_path):
    save(str(tmp_path / "a" / "b"), NETWORK, init())
    (tmp_path / "link").symlink_to(tmp_path / "a" / "b")
    save(tmp_path / "link", NETWORK, init(seed=1))
    assert (tmp_path / "link").is_symlink() and same(load(str(tmp_path / "a" / "b")).params, init(seed=1))


def test_others_may_read_it_as_the_umask_says(path):
    old = os.umask(0)
    os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o777 & ~old
    assert {file.stat().st_mode & 0o777 for file in path.iterdir()} == {0o666 & ~old}


def test_empty_and_unfinished_directories_are_filled(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / ".saving-0123456789abcdef").write_text("cut")
    (tmp_path / "model" / "weights-0123456789abcdef.npz").write_text("off")
    save(tmp_path / "model", NETWORK, init())
    assert same(load(tmp_path / "model").params, init())


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("", "", "model is a file; expected a new directory or a saved model: choose another path"),
        ("photos.zip", "", "model holds photos.zip; expected a new or empty directory, or a saved model: choose"),
        (
            "model.json",
            "{",
            "holds a model.json that is damaged or not of a saved model: choose another path, or delete",
        ),
        ("model.json", "[]", "holds a model.json that is damaged or not of a saved model"),
        ("model.json", '{"format": "keras"}', "holds a model.json that is damaged or not of a saved model"),
        ("model.json", '{"format": "manual_bp model", "sha256": "/../x"}', "holds a model.json that is damaged"),
    ],
)
def test_nothing_else_is_written_over(name, text, message, tmp_path):
    file = tmp_path / "model" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    with pytest.raises(FileExistsError, match=message):
        save(tmp_path / "model", NETWORK, init())
    assert file.read_text() == text and len(entries(tmp_path)) == 1 + bool(name)


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def failing(monkeypatch, module, name, call):
    """The function fails at this call, as on a full disk."""
    right, calls = getattr(module, name), []

    def function(*args, **kwargs):
        calls.append(args)
        if len(calls) == call:
            raise FULL
        return right(*args, **kwargs)

    monkeypatch.setattr(module, name, function)
    return calls


@pytest.mark.parametrize("over", [False, True])
@pytest.mark.parametrize(
    ("module", "name", "call"),
    [
        (np, "savez", 1), (os, "replace", 1), (os, "replace", 2), (os, "fsync", 1), (os, "fsync", 2), (os, "fsync", 3),
    ],
)  # fmt: skip
def test_full_disk_leaves_what_was_there(module, name, call, over, tmp_path, monkeypatch):
    path = tmp_path / "model"
    if over:
        save(path, NETWORK, init())
    before = entries(tmp_path)
    with monkeypatch.context() as patch:
        failing(patch, module, name, call)
        with pytest.raises(OSError, match="No space left on device"):
            save(path, NETWORK, init(seed=1))
    assert entries(tmp_path) == before
    assert not over or same(load(path).params, init())
    save(path, NETWORK, init(seed=1))
    assert same(load(path).params, init(seed=1))


def test_a_write_cut_short_leaves_what_was_there(path):
    """A real one: no file may be longer than 64 bytes."""
    before, limits = entries(path.parent), resource.getrlimit(resource.RLIMIT_FSIZE)
    for target in (path, path.parent / "new"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
        try:
            with pytest.raises(OSError) as caught:
                save(target, NETWORK, init(seed=1))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert caught.value.errno == errno.EFBIG and entries(path.parent) == before
    assert same(load(path).params, init())


@pytest.mark.parametrize("before", ["nothing", "empty", "model", "same model"])
def test_killed_at_any_moment_the_old_model_or_the_new_one_is_there(before, tmp_path, monkeypatch):
    """The files are copied before and after each call that changes them: what a kill would leave."""
    path, moments = tmp_path / "now" / "model", []
    (path if before == "empty" else path.parent).mkdir(parents=True)
    if "model" in before:
        save(path, NETWORK, init(seed=int(before == "same model")))
    right = {name: getattr(os, name) for name in ("mkdir", "replace", "fsync", "unlink")}

    def copied_around(name):
        def call(*args, **kwargs):
            with monkeypatch.context() as patch:
                for other in right:
                    patch.setattr(os, other, right[other])
                for when in ("before", "after"):
                    if when == "after":
                        right[name](*args, **kwargs)
                    moments.append(tmp_path / f"{len(moments)} {when} {name}")
                    shutil.copytree(path.parent, moments[-1])

        return call

    with monkeypatch.context() as patch:
        for name in right:
            patch.setattr(os, name, copied_around(name))
        save(path, NETWORK, init(seed=1))

    new = False
    for moment in moments:
        if (moment / "model" / "model.json").exists():
            found = load(moment / "model").params
            new = new or same(found, init(seed=1))
            assert same(found, init(seed=int(new))), moment  # and never the old one again
        else:
            assert not new and before == "empty" or not (moment / "model").exists() and before == "nothing", moment
        save(moment / "model", NETWORK, init(seed=2))
        assert same(load(moment / "model").params, init(seed=2))
    assert new and len(moments) >= 12


def test_a_model_saved_over_while_it_is_loaded_is_the_new_one(path, monkeypatch):
    right, calls = saving.read_weights, []

    def read_weights(*args):
        calls.append(args)
        if len(calls) == 1:
            save(path, DEEP, init(DEEP), {"seed": 1})
        return right(*args)

    monkeypatch.setattr(saving, "read_weights", read_weights)
    found = load(path)
    assert found.network == DEEP and found.extra == {"seed": 1} and same(found.params, init(DEEP)) and len(calls) == 2


def test_the_same_model_makes_the_same_files(path, tmp_path):
    save(tmp_path / "again", NETWORK, init(), {"seed": 0})
    for file in path.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()
    model = json.loads((path / "model.json").read_text())
    assert model["version"] == write.VERSION and model["manual_bp"] == bp.__version__
