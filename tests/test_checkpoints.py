"""Checkpoints: every bit comes back, whenever a training is killed; what is damaged or of another state is refused."""

import asyncio
import multiprocessing
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

import manual_bp as bp
from manual_bp._training import checkpoint_files as files
from manual_bp._training.checkpoints import CheckpointError, Checkpoints

NETWORK = bp.Network((5, 4, 3))
ABOUT = {"network": {"sizes": [5, 4, 3]}, "history": {"cost": [0.1, 1e-300, float("inf")], "best": None}}


class State(NamedTuple):
    params: Any
    optimizer: Any
    key: Any
    epoch: Any


def state(network=NETWORK, optimizer=None, seed=0, dtype="float32", impl=None):
    params = bp.init(network, jax.random.key(seed), dtype)
    return State(params, (optimizer or optax.adam(0.1)).init(params), jax.random.key(seed, impl=impl), seed)


def is_key(leaf):
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def everything(leaf):
    """By which a leaf can differ from another one."""
    if isinstance(leaf, int | float) and not isinstance(leaf, np.generic):
        return type(leaf), repr(leaf)
    raw = np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
    properties = ("dtype", "shape", "sharding", "committed", "weak_type")
    return type(leaf), *(getattr(leaf, name, None) for name in properties), raw.tobytes()


def same(a, b):
    alike = [everything(leaf) for leaf in jax.tree.leaves(a)] == [everything(leaf) for leaf in jax.tree.leaves(b)]
    return alike and jax.tree.structure(a) == jax.tree.structure(b)


def blank(leaf):
    """A leaf of the same kind, with nothing of its value."""
    if is_key(leaf):
        return jax.random.wrap_key_data(0 * jax.random.key_data(leaf), impl=jax.random.key_impl(leaf))
    if isinstance(leaf, jax.Array):
        return jnp.zeros_like(leaf)
    return np.zeros_like(leaf) if isinstance(leaf, np.ndarray) else type(leaf)(0)


@pytest.fixture
def saved(tmp_path):
    """Checkpoints of epochs 11 and 12."""
    checkpoints = Checkpoints(tmp_path / "run")
    for epoch in (11, 12):
        checkpoints.save(epoch, state(seed=epoch), ABOUT)
    return checkpoints


def latest(checkpoints):
    found = checkpoints.latest()
    assert found is not None
    return found


def refused(function, *args):
    """The sentence with which something is refused."""
    with pytest.raises(CheckpointError) as error:
        function(*args)
    assert "\n" not in str(error.value)
    return str(error.value)


def names(checkpoints):
    return sorted(path.name for path in checkpoints.directory.iterdir())


@pytest.mark.parametrize("x64", [True, False])
def test_every_bit_comes_back(tmp_path, x64):
    with jax.enable_x64(x64):
        odd = np.array([0x7FC00123, 0xFF800001, 0x80000000, 1], np.uint32).view(np.float32)  # NaNs, -0, a denormal
        optimizer = optax.chain(optax.clip(1.0), optax.adamw(optax.cosine_decay_schedule(0.1, 9)))
        whole = {
            "state": state(optimizer=optimizer, seed=3),
            "keys": [jax.random.split(jax.random.key(3), 4), jax.random.key(1, impl="rbg"), jax.random.PRNGKey(2)],
            "floats": [jnp.array(odd), jnp.array(0.1, "bfloat16"), jnp.ones((3, 2), "float16"), jnp.ones(2) / 3],
            "weak": (jnp.asarray(0.3), jnp.asarray(3), jax.lax.full((2, 3), 0.1)),
            "integers": (jnp.arange(5), jnp.array(-3, "int8"), jnp.array(True), jnp.uint32(2**32 - 1)),
            "numpy": [np.arange(6.0).reshape(2, 3).T, np.int16(3), np.array(2**63, np.uint64)],
            "python": (2**70, 0.1, float("inf"), -0.0, True),
            "nothing": [None, (), {}],
        }
        Checkpoints(tmp_path).save(3, whole, ABOUT)
        found = latest(Checkpoints(tmp_path))
        like = jax.tree.map(blank, whole)
        assert not same(like, whole)
        assert found.epoch == 3 and found.about == ABOUT and same(found.restore(like), whole)


def test_float64_stays_float64(tmp_path):
    whole = [jnp.ones(3) / 3]
    Checkpoints(tmp_path).save(1, whole, {})
    with jax.enable_x64(False):
        assert same(latest(Checkpoints(tmp_path)).restore(whole), whole)


def test_it_goes_where_its_counterpart_is(tmp_path):
    mesh = jax.make_mesh((2, 4), ("a", "b"))
    rows, whole = (jax.NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("b", "a"), ()))
    W, b, key = jnp.arange(32.0).reshape(8, 4), jnp.arange(3.0), jax.random.key(3)
    spread = jax.device_put((W, b, key), (rows, whole, whole))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, (W, b, key), {})
    assert same(latest(checkpoints).restore(spread), spread)
    checkpoints.save(2, spread, {})
    assert same(latest(checkpoints).restore(spread), spread)
    # not bound to the one device they are on: they go along with what is on a mesh
    assert same(latest(checkpoints).restore((W, b, key)), (W, b, key))


def test_the_newest_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "a" / "b", keep=3)
    assert checkpoints.latest() is None and not (tmp_path / "a").exists()
    for epoch in (0, 2, 9, 10, 11):
        checkpoints.save(epoch, {"n": jnp.array(epoch)}, {})
        assert latest(checkpoints).restore({"n": jnp.array(0)})["n"] == epoch
    assert names(checkpoints) == ["10", "11", "9"]
    assert refused(checkpoints.save, 11, {}, {}).startswith(
        f"epoch is 11; expected 12 or more, as {tmp_path}/a/b/11 is"
    )
    assert refused(Checkpoints(tmp_path / "c").save, -1, {}, {}) == "epoch is -1; expected 0 or more"


def test_what_others_put_there_stays(tmp_path):
    for name in ("notes.unfinished", "1/photo.jpg", "007/photo.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    checkpoints = Checkpoints(tmp_path, keep=1)
    (tmp_path / "3.unfinished").mkdir()
    for epoch in (2, 3):
        checkpoints.save(epoch, {"n": jnp.array(epoch)}, {})
    assert names(checkpoints) == ["007", "1", "3", "notes.unfinished"]


def test_what_cannot_be_removed_yet_does_not_look_like_a_checkpoint(tmp_path, monkeypatch):
    def fail(path, **_):
        raise PermissionError(path)

    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, {"n": jnp.array(1)}, {})
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", fail)
        checkpoints.save(2, {"n": jnp.array(2)}, {})
    assert names(checkpoints) == ["1.unfinished", "2"]
    checkpoints.save(3, {"n": jnp.array(3)}, {})
    assert names(checkpoints) == ["3"]


def test_it_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    flushed = {}

    def fsync(path):
        flushed[path] = (tmp_path / "1").exists()

    monkeypatch.setattr(files, "fsync", fsync)
    Checkpoints(tmp_path).save(1, state(), {})
    inside = [path.relative_to(tmp_path / "1") for path in (tmp_path / "1").rglob("*")]
    unfinished = tmp_path / "1.unfinished"
    assert len(inside) > 5
    assert flushed == {unfinished: False, tmp_path: True} | {unfinished / path: False for path in inside}


NOISE = np.random.default_rng(0).integers(0, 2**31, size=(10, 250_000), dtype=np.int32)  # 10 MB; does not compress


def counted(epoch):
    return [row + np.int32(epoch) for row in NOISE], epoch


def train(directory, report):
    """An endless training; a step adds one."""
    jax.config.update("jax_platforms", "cpu")
    checkpoints = Checkpoints(directory)
    found = checkpoints.latest()
    arrays, epoch = found.restore(counted(0)) if found else counted(0)
    report.send(epoch)
    while True:
        arrays, epoch = [array + np.int32(1) for array in arrays], epoch + 1
        checkpoints.save(epoch, (list(map(jnp.asarray, arrays)), epoch), {"epoch": epoch})
        report.send(epoch)


def test_killed_at_any_moment(tmp_path, monkeypatch):
    # The children are forks of a process that has imported all and started no backend
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    rng = np.random.default_rng(1)
    checkpoints = Checkpoints(tmp_path)
    epoch = writing = 0
    for _ in range(20):
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=train, args=(tmp_path, sender), daemon=True)
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
            writing += any(name.endswith("unfinished") for name in names(checkpoints))
        if found := checkpoints.latest():
            epoch = found.epoch
            assert found.about == {"epoch": epoch} and same(found.restore(counted(0)), counted(epoch))
        assert reported <= epoch <= reported + 1
    assert epoch >= 10 and writing >= 5
    checkpoints.save(epoch + 1, counted(epoch + 1), {})
    assert names(checkpoints) == sorted([str(epoch), str(epoch + 1)])


@pytest.mark.parametrize("limit", [0, 200, 2_000, 100_000])
def test_full_disk(saved, limit):
    """No file may grow past a limit, which stands for a disk that is full."""
    big = {"W": jnp.asarray(NOISE[0])}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        message = refused(saved.save, 13, big, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    where = saved.directory
    assert message == (
        f"{where}/13 could not be written (File too large); {where}/12 is as it was: "
        f"see that {where} can be written to and has free space, and resume"
    )
    assert names(saved) == ["11", "12"]
    assert same(latest(saved).restore(state()), state(seed=12))
    saved.save(13, big, {})
    assert names(saved) == ["12", "13"]


def test_a_flipped_bit_anywhere_is_found(saved):
    rng = np.random.default_rng(0)
    path = saved.directory / "12"
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        data = file.read_bytes()
        for place in {0, len(data) // 2, len(data) - 1, *rng.integers(len(data), size=20)}:
            flipped = bytearray(data)
            flipped[place] ^= 1 << rng.integers(8)
            file.write_bytes(flipped)
            message = refused(saved.latest)
            assert message.startswith(f"{path} is damaged: ")
            assert message.endswith(f"; remove {path} to resume from epoch 11, which is intact")
        file.write_bytes(data)
    assert same(latest(saved).restore(state()), state(seed=12))


def test_a_file_that_is_cut_or_gone_is_found(saved):
    path = saved.directory / "12"
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        data = file.read_bytes()
        for length in (0, len(data) // 2, len(data) - 1, None):
            if length is None:
                file.unlink()
            else:
                file.write_bytes(data[:length])
            assert refused(saved.latest).startswith(f"{path} is ")
        file.write_bytes(data)
    shutil.rmtree(path)
    assert same(latest(saved).restore(state()), state(seed=11))


def test_the_way_out_of_damage(saved):
    eleven, twelve, thirteen = (saved.directory / name for name in ("11", "12", "13"))
    thirteen.mkdir()
    no_checkpoint = f"{thirteen} is not a checkpoint of manual_bp: it has no checkpoint.json; remove {thirteen}"
    assert refused(saved.latest) == f"{no_checkpoint} to resume from epoch 12, which is intact"
    next((twelve / "arrays").rglob("manifest.ocdbt")).unlink()
    assert refused(saved.latest) == f"{no_checkpoint} and {twelve} to resume from epoch 11, which is intact"
    shutil.rmtree(eleven)
    assert refused(saved.latest) == f"{no_checkpoint} and {twelve} to start anew: none before it is intact"


def test_what_is_no_checkpoint_is_refused(saved, monkeypatch):
    thirteen = saved.directory / "13"
    shutil.copytree(saved.directory / "12", thirteen)
    assert refused(saved.latest).startswith(f"{thirteen} was renamed: it holds epoch 12; remove")
    for text, why in {"{}": "'content'", "[]": "list indices", "": "Expecting value", "\xff": "'"}.items():
        (thirteen / "checkpoint.json").write_text(text, encoding="latin-1")
        assert refused(saved.latest).startswith(f"{thirteen} is damaged: it cannot be read ({why}")
    monkeypatch.setattr(files, "FORMAT", 2)
    shutil.rmtree(thirteen)
    assert "12 is of format 1; expected 2, that of this version" in refused(saved.latest)
    file = saved.directory / "12" / "checkpoint.json"
    assert refused(Checkpoints, file) == f"{file} is a file; expected a directory of checkpoints"


@pytest.mark.parametrize(
    "like, why",
    [
        (dict(network=bp.Network((5, 6, 3))), "state.params[0].W is float32[4,5]; expected float32[6,5]"),
        (dict(network=bp.Network((5, 4, 4, 3))), "state.params is tuple of 2; expected tuple of 3"),
        (dict(dtype="bfloat16"), "state.params[0].W is float32[4,5]; expected bfloat16[4,5]"),
        (dict(optimizer=optax.sgd(0.1)), "state.optimizer[0] is ScaleByAdamState; expected EmptyState"),
        (dict(optimizer=optax.adamw(0.1)), "state.optimizer is tuple of 2; expected tuple of 3"),
        (
            dict(optimizer=optax.adam(optax.linear_schedule(1, 0, 9))),
            "state.optimizer[1] is EmptyState; expected ScaleByScheduleState",
        ),
        (dict(impl="rbg"), "state.key is key<fry>[]; expected key<rbg>[]"),
    ],
)
def test_another_state_is_refused(saved, like, why):
    assert refused(latest(saved).restore, state(**like)) == (
        f"{saved.directory}/12 holds another state: {why}; resume with the network and the optimizer that it was saved "
        "with, or choose another directory"
    )


def test_another_set_of_names_is_refused(tmp_path):
    Checkpoints(tmp_path).save(1, {"a": jnp.ones(2), "b": 1}, {})
    for like, why in (
        ({"a": jnp.ones(2), "c": 1}, "it has state['b']; expected state['c']"),
        ({"a": jnp.ones(2), "b": 1.0}, "state['b'] is int; expected float"),
        ({"a": jnp.ones(2), "b": {}}, "state['b'] is int; expected dict of 0"),
    ):
        assert why in refused(latest(Checkpoints(tmp_path)).restore, like)


def test_what_cannot_be_saved_is_refused_before_anything_is_written(saved):
    for whole, about, why in (
        ({"a": "text"}, {}, re.escape("state['a'] is a str; expected an array or a number")),
        (state(), {"cost": np.float32(1)}, "float32 is not JSON serializable"),
    ):
        with pytest.raises(TypeError, match=why):
            saved.save(13, whole, about)
    with pytest.raises(ValueError, match="keep is 0; expected 1 or more"):
        Checkpoints(saved.directory, keep=0)
    assert names(saved) == ["11", "12"]


def test_in_a_notebook(saved):
    async def cell():
        saved.save(13, state(seed=13), {})
        return latest(saved).restore(state())

    assert same(asyncio.run(cell()), state(seed=13))


QUIET = """
import resource, sys
import jax
import manual_bp
from manual_bp._training.checkpoints import Checkpoints, CheckpointError
assert not any(name.split(".")[0] in ("orbax", "tensorstore") for name in sys.modules)
checkpoints = Checkpoints(sys.argv[1])
state = {"W": jax.numpy.arange(100.0), "key": jax.random.key(0)}
for epoch in range(4):
    checkpoints.save(epoch, state, {})
    checkpoints.latest().restore(state)
print("full", file=sys.stderr, flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
try:
    checkpoints.save(9, state, {})
except CheckpointError:
    print("refused")
"""


def test_quiet(tmp_path):
    argv = [sys.executable, "-W", "error", "-c", QUIET, tmp_path / "run"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    quiet, refused = done.stderr.split("full\n")
    assert (done.returncode, done.stdout, quiet) == (0, "refused\n", "")
    # where a write fails tensorstore may print that a loop is closed, out of our reach; orbax would print much more
    assert "orbax" not in refused


def test_the_missing_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(ImportError, match=r"need orbax-checkpoint: pip install 'manual_bp\[train\]'"):
        Checkpoints(tmp_path)
