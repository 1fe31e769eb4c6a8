"""Gradients shared out over the devices of a mesh, from ordinary arrays to ordinary arrays."""

import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cpu_mesh import cpu_mesh
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from problems import CLASSES, FLOAT64, arrays, by_autodiff, if_deep

import manual_bp as bp
from manual_bp._checks import arguments as checks
from manual_bp._machine import blocks
from reference.compare import largest_error


@pytest.fixture
def mesh():
    return cpu_mesh((3,), ("data",), axis_types=(AxisType.Auto,))


def some(m):
    network, params, X, Y, weights = arrays(CLASSES)
    return network, params, *(jnp.tile(x, 4)[..., :m] for x in (X, Y, weights))


# fewer examples than devices, one for each, and a rest
@pytest.mark.parametrize(
    ("m", "weighted"), [(2, False), (3, True), (19, True), (19, False), if_deep(2, True), if_deep(3, False)]
)
def test_the_gradient_of_autodiff(mesh, m, weighted):
    network, params, X, Y, weights = some(m)
    args = params, X, Y, weights if weighted else None
    expected = by_autodiff(CLASSES.model, *args)
    for block_size in (2, None):
        found = bp.value_and_grad(network, block_size=block_size, mesh=mesh)(*args)
        assert largest_error(found, expected) <= FLOAT64
        kinds = [[(leaf.shape, leaf.dtype, leaf.devices()) for leaf in jax.tree.leaves(x)] for x in (found, expected)]
        assert kinds[0] == kinds[1]
    assert largest_error(bp.grad(network, block_size=2, mesh=mesh)(*args), expected[1]) <= FLOAT64


def test_auto_shares_out_where_blocks_pay(mesh, monkeypatch):
    network, params, X, Y, weights = some(19)
    lowered = []
    monkeypatch.setattr(jax, "shard_map", lambda *args, f=jax.shard_map, **more: lowered.append(1) or f(*args, **more))
    few = bp.value_and_grad(network, mesh=mesh)(params, X, Y, weights)
    assert not lowered
    for wrong in ((params, X[0], Y), (params, X[:2], Y), ((), X, Y)):
        with pytest.raises((TypeError, ValueError)) as without:
            bp.value_and_grad(network)(*wrong)
        with pytest.raises(without.type, match=re.escape(str(without.value))):
            bp.value_and_grad(network, mesh=mesh)(*wrong)
    monkeypatch.setattr(blocks, "auto", lambda sizes, m, itemsize: 4)
    many = bp.value_and_grad(network, mesh=mesh)(params, X, Y, weights)
    assert lowered and largest_error(many, few) <= FLOAT64


def test_what_it_takes(mesh):
    """Arrays of NumPy, arrays that lie on the mesh already, and what JAX traces."""
    network, params, X, Y, weights = some(18)
    expected = bp.value_and_grad(network)(params, X, Y, weights)
    shared_out = bp.value_and_grad(network, block_size=4, mesh=mesh)
    host = jax.tree.map(np.asarray, (params, X, Y, weights))
    placed = [jax.device_put(x, NamedSharding(mesh, P(*[None] * (x.ndim - 1), "data"))) for x in (X, Y, weights)]
    whole = jax.device_put(params, NamedSharding(mesh, P()))
    for found in (shared_out(*host), shared_out(params, *placed), shared_out(whole, *placed)):
        assert largest_error(found, expected) <= FLOAT64
    traced = jax.jit(lambda *args: shared_out(*args))(*host)
    assert largest_error(traced, expected) <= FLOAT64
    with pytest.raises(ValueError, match=r"X has shape \(2, 18\)"):
        shared_out(params, X[:2], Y, weights)


def test_arguments_are_checked_once_for_each_kind(mesh, monkeypatch):
    """And again where they have to be cast, or are no arrays of JAX's."""
    network, params, X, Y, weights = some(18)
    expected = bp.value_and_grad(network)(params, X, Y)
    checked = []
    check = checks.checked
    monkeypatch.setattr(checks, "checked", lambda *args: checked.append(1) or check(*args))
    shared_out = bp.value_and_grad(network, block_size=6, mesh=mesh)
    for args, times in (
        ((params, X, Y), 1),
        ((params, X + 0, Y), 1),
        ((params, X[:, :9], Y[..., :9]), 2),
        ((params, X.astype("float32"), Y), 3),
        ((params, X.astype("float32"), Y), 4),
        ((params, np.asarray(X), Y), 5),
        ((params, np.asarray(X), Y), 6),
        ((params, X, Y), 6),
    ):
        c, grads = shared_out(*args)
        assert len(checked) == times
        assert c.dtype == X.dtype and grads[0].W.dtype == X.dtype
    assert largest_error((c, grads), expected) <= FLOAT64
    with pytest.raises(ValueError, match=r"X has shape \(2, 18\)"):
        shared_out(params, X[:2], Y)


def test_arguments_are_left_alone(mesh):
    """They share their memory with the devices; donated afterwards they take nothing with them."""
    network, params, X, Y, _ = some(18)
    held = np.array(X)
    c, grads = bp.value_and_grad(network, block_size=4, mesh=mesh)(params, X, Y)
    later = jax.jit(lambda x: 2 * x, donate_argnums=0)(X)
    np.testing.assert_array_equal(later, 2 * held)
    assert largest_error((c, grads), bp.value_and_grad(network)(params, held, Y)) <= FLOAT64


def test_no_such_mesh():
    with pytest.raises(ValueError, match="mesh has the axes 'model'; expected an axis 'data'"):
        bp.value_and_grad(bp.Network((3, 2)), mesh=cpu_mesh((2,), ("model",)))
    with pytest.raises(TypeError, match="mesh is a list; expected a jax.sharding.Mesh"):
        bp.value_and_grad(bp.Network((3, 2)), mesh=[1, 2])  # type: ignore[arg-type]


def python(code):
    env = os.environ | {"JAX_PLATFORMS": "cpu"}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=300)
    return run.stdout + run.stderr.strip().rpartition("\n")[2]


def test_use_cpu_devices():
    """In a process of its own: what comes back is on the first device, and goes with arrays that never left it."""
    said = python("""
import jax, jax.numpy as jnp, manual_bp as bp
mesh = bp.use_cpu_devices(2)
assert bp.use_cpu_devices(2) == mesh
network = bp.Network((4, 6, 3))
params, X, Y = bp.init(network, jax.random.key(0)), jnp.ones((4, 9)), jnp.zeros(9, int)
c, grads = bp.value_and_grad(network, block_size=2, mesh=mesh)(params, X, Y)
committed = jax.device_put(params, jax.devices()[0])
updated = jax.jit(lambda p, d: jax.tree.map(jnp.subtract, p, d))(committed, grads)
print(len(jax.devices()), dict(mesh.shape), updated[0].W.devices())
""")
    assert said.strip() == "2 {'data': 2} {CpuDevice(id=0)}"


def test_use_cpu_devices_too_late():
    said = python("import jax, manual_bp as bp; jax.numpy.ones(1) + 1; bp.use_cpu_devices(5)")
    assert said.startswith(
        "RuntimeError: JAX is already initialised, and the number of its CPU devices is 1; call bp.use_cpu_devices(5)"
    )


def test_no_count():
    with pytest.raises(ValueError, match="count is 0; expected 1 or more$"):
        bp.use_cpu_devices(0)
    with pytest.raises(TypeError, match="count is True; expected an integer, 1 or more$"):
        bp.use_cpu_devices(True)
