"""Trainings in a file: every bit comes back, whenever a training is killed; one of another kind is refused."""

import multiprocessing
import os
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cpu_mesh import cpu_mesh
from jax.sharding import PartitionSpec
from saved_files import NETWORK, edit, entries, history, is_key, progress, refused, same

import manual_bp as bp
from manual_bp._saving.file import read, write
from manual_bp._saving.tree import difference, pack, unpack
from manual_bp._training.checkpoint import TRAINING, Checkpoint, Progress


def save(path, tree):
    outline, arrays = pack(tree)
    write(path, TRAINING, {"tree": outline}, arrays)


def restore(path, like):
    content, arrays = read(path, TRAINING)
    assert difference(content["tree"], like) is None
    return unpack(arrays, like)


def blank(leaf):
    """A leaf of the same kind, with nothing of its value."""
    if is_key(leaf):
        return jax.random.wrap_key_data(0 * jax.random.key_data(leaf), impl=jax.random.key_impl(leaf))
    if isinstance(leaf, jax.Array):
        return jnp.zeros_like(leaf)
    return np.zeros_like(leaf) if isinstance(leaf, np.ndarray) else type(leaf)(0)


@pytest.fixture
def path(tmp_path):
    """The file of a training."""
    Checkpoint(tmp_path / "training.safetensors", 1, NETWORK).save(progress(), last=False)
    return tmp_path / "training.safetensors"


def refusal(path, like, network=NETWORK) -> str:
    return refused(bp.CheckpointError, Checkpoint(path, 1, network).begin, like, resume=True)


@pytest.mark.parametrize("x64", [True, False])
def test_every_bit_comes_back(tmp_path, x64):
    with jax.enable_x64(x64):
        odd = np.array([0x7FC00123, 0xFF800001, 0x80000000, 1], np.uint32).view(np.float32)  # NaNs, -0, a denormal
        params = bp.init(NETWORK, jax.random.key(0), "float32")
        optimizer = optax.chain(optax.clip(1.0), optax.adamw(optax.cosine_decay_schedule(0.1, 9)))
        whole = {
            "optimizer": optimizer.init(params),
            "keys": [jax.random.split(jax.random.key(3), 4), jax.random.key(1, impl="rbg"), jax.random.PRNGKey(2)],
            "floats": [jnp.array(odd), jnp.array(0.1, "bfloat16"), jnp.ones((3, 2), "float16"), jnp.ones(2) / 3],
            "weak": (jnp.asarray(0.3), jnp.asarray(3), jax.lax.full((2, 3), 0.1)),
            "integers": (jnp.arange(5), jnp.array(-3, "int8"), jnp.array(True), jnp.uint32(2**32 - 1)),
            "numpy": [np.arange(6.0).reshape(2, 3).T, np.int16(3), np.array(2**63, np.uint64), np.zeros((2, 0))],
            "python": (2**62, 0.1, float("inf"), -0.0, True),
            "nothing": [None, (), {}],
        }
        save(tmp_path / "file", whole)
        like = jax.tree.map(blank, whole)
        found = restore(tmp_path / "file", like)
        assert not same(like, whole) and same(found, whole) and found["numpy"][0].flags.writeable
    with jax.enable_x64(False):  # float64 stays float64
        assert same(restore(tmp_path / "file", whole), whole)


def test_it_goes_where_its_counterpart_is(tmp_path):
    mesh = cpu_mesh((2, 4), ("a", "b"))
    rows, whole = (jax.NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("b", "a"), ()))
    W, b, key = jnp.arange(32.0).reshape(8, 4), jnp.arange(3.0), jax.random.key(3)
    spread = jax.device_put((W, b, key), (rows, whole, whole))
    save(tmp_path / "file", (W, b, key))
    assert same(restore(tmp_path / "file", spread), spread)
    save(tmp_path / "file", spread)
    assert same(restore(tmp_path / "file", spread), spread)
    # not bound to the one device they are on: they go along with what is on a mesh
    assert same(restore(tmp_path / "file", (W, b, key)), (W, b, key))


NOISE = np.random.default_rng(0).integers(0, 2**31, size=(10, 250_000), dtype=np.int32)  # 10 MB; does not compress


def counted(epoch):
    rows: Any = [row + np.int32(epoch) for row in NOISE]
    return Progress(rows, (), history(epoch))


def train(path, report):
    """An endless training; an epoch adds one."""
    checkpoint = Checkpoint(path, 1, NETWORK)
    now = checkpoint.begin(counted(0), resume=True)
    report.send(len(now.history))
    while True:
        now = counted(len(now.history) + 1)
        checkpoint.save(now, last=False)
        report.send(len(now.history))


def test_killed_at_any_moment(tmp_path, monkeypatch, deep):
    """Until enough of the kills met a file that was being written."""
    # The children are forks of a process that has imported all and started no backend
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    rng, path = np.random.default_rng(1), tmp_path / "file"
    epoch = writing = 0
    for _ in range(500):
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=train, args=(path, sender), daemon=True)
        child.start()
        sender.close()
        assert receiver.recv() == epoch  # resumed from
        reported = epoch
        for _ in range(rng.integers(3)):
            reported = receiver.recv()
        time.sleep(rng.uniform(0, 0.1))
        child.kill()
        child.join()
        try:
            while True:
                reported = receiver.recv()
        except EOFError:
            writing += any(name.startswith(".saving-") for name in entries(tmp_path))
        found = Checkpoint(path, 1, NETWORK).begin(counted(0), resume=True)
        epoch = len(found.history)
        assert same(found[:2], counted(epoch)[:2]) and repr(found[2].to_dict()) == repr(history(epoch).to_dict())
        assert reported <= epoch <= reported + 1
        assert len(entries(tmp_path)) <= 2
        if writing == (20 if deep else 3):
            break
    else:
        pytest.fail("few kills met a file that was being written")
    assert epoch > 0
    Checkpoint(path, 1, NETWORK).save(counted(epoch), last=True)
    assert entries(tmp_path) == ["file"]


def test_a_full_disk_is_said(path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: os.open("/", os.O_WRONLY))  # any error of the system
    message = refused(bp.CheckpointError, Checkpoint(path, 1, NETWORK).save, progress(1), last=False)
    why = "(Is a directory); what was there before is as it was: see that the disk has free space"
    assert message == f"{path} could not be written {why}, and resume"


def test_without_resume_a_training_is_refused(path):
    message = refused(bp.CheckpointError, Checkpoint(path, 1, NETWORK).begin, progress(), resume=False)
    assert "holds a training up to epoch 1; pass resume=True to go on with it, or" in message


SCHEDULED = optax.adam(optax.linear_schedule(1, 0, 9))


@pytest.mark.parametrize(
    "like, why",
    [
        (dict(network=bp.Network((3, 4, 2))), "params[0].W is float32[5,3]; the one passed is float32[4,3]"),
        (dict(network=bp.Network((3, 5, 5, 2))), "params is tuple of 2; the one passed is tuple of 3"),
        (dict(dtype="bfloat16"), "params[0].W is float32[5,3]; the one passed is bfloat16[5,3]"),
        (dict(optimizer=optax.sgd(0.1)), "optimizer_state[0] is ScaleByAdamState; the one passed is EmptyState"),
        (dict(optimizer=optax.adamw(0.1)), "optimizer_state is tuple of 2; the one passed is tuple of 3"),
        (dict(optimizer=SCHEDULED), "optimizer_state[1] is EmptyState; the one passed is ScaleByScheduleState"),
        (dict(impl="rbg"), "key is key<fry>[]; the one passed is key<rbg>[]"),
    ],
)
def test_another_state_is_refused(path, like, why):
    assert f"holds another training: training.state.{why}; pass the network" in refusal(path, progress(**like))


def test_another_network_is_refused(path):
    assert "its network has hidden ['tanh']; the one passed has ['relu']" in refusal(
        path, progress(), bp.Network((3, 5, 2))
    )
    assert "the one passed has [3, 1000" in refusal(path, progress(), bp.Network((3, *[10**6] * 50, 2)))


def test_the_first_difference_is_named():
    for like, why in (
        ({"a": 1, "c": 1}, "it has training['b']; the one passed has training['c']"),
        ({"a": 1, "b": 1.0}, "training['b'] is int; the one passed is float"),
        ({"a": 1, "b": {}}, "training['b'] is int; the one passed is dict of 0"),
        ({"a": 1}, "training is dict of 2; the one passed is dict of 1"),
    ):
        assert difference(pack({"a": 1, "b": 1})[0], like) == why


def test_what_cannot_be_saved_is_refused_before_anything_is_written(tmp_path):
    for whole, why in (
        ({"a": "text"}, r"training\['a'\] is a str; expected an array or a number"),
        ({"a": np.zeros(2, "complex128")}, r"training\['a'\] has dtype complex128; expected one of bool, int8"),
    ):
        with pytest.raises(TypeError, match=why):
            save(tmp_path / "file", whole)
    assert entries(tmp_path) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"history": None},
        {"history": {"cost": [0.5], "recipe": [1]}},
        {"history": {"cost": [0.5, 0.5], "gradient_norm": [0.5]}},
        {"history": {name: ["text"] for name in progress().history.to_dict()}},
        {"network": 3},
        {"tree": []},
        {"members": lambda old: {name: member | {"shape": member["shape"][::-1]} for name, member in old.items()}},
        {"members": lambda old: {f"{name}'": member for name, member in old.items()}},
        {"members": lambda old: {n: m | {"dtype": m["dtype"].replace("F32", "I32")} for n, m in old.items()}},
    ],
)
def test_a_crafted_file_is_refused(path, fields):
    """The digest is right, and the content is not that of a training."""
    edit(path, **fields)
    assert any(word in refusal(path, progress()) for word in ("its content cannot be read", "holds another training"))
