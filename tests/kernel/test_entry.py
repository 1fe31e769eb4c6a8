"""`kernel="fused"` as a user asks for it, without a GPU: the call is made in the emulation's place."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from emulated_kernel import HOPPER

import manual_bp as bp
from manual_bp._kernel import fused, takes
from manual_bp._kernel.chips import Chip

NETWORK = bp.Network((5, 16, 12, 3), "tanh")


def arguments(m=130, dtype=jnp.float32, network=NETWORK):
    X, *keys = jax.random.split(jax.random.key(0), 3)
    params = bp.init(network, keys[0], dtype)
    X = jax.random.normal(X, (network.sizes[0], m), dtype)
    return params, X, jnp.arange(m) % network.sizes[-1], jnp.arange(m) % 4


def close(found, true, bound):
    found, true = ([np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree)] for tree in (found, true))
    return all(np.linalg.norm(a - b) <= bound * np.linalg.norm(b) for a, b in zip(found, true, strict=True))


@pytest.mark.parametrize("dtype, bound", [(jnp.float32, 2e-6), (jnp.bfloat16, 2e-2)])
def test_value_and_grad(gpu, dtype, bound):
    params, X, Y, weights = arguments(dtype=dtype)
    true_params, true_X = jax.tree.map(lambda x: x.astype(jnp.float64), (params, X))
    for rest in ((Y,), (Y, weights)):
        args = (params, X, *rest)
        found = bp.value_and_grad(NETWORK, kernel="fused")(*args)
        assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(dtype)}
        assert close(found, bp.value_and_grad(NETWORK)(true_params, true_X, *rest), bound)
    assert close(bp.grad(NETWORK, kernel="fused")(*args), found[1], 0)
    assert [form.weighted for form in gpu.called] == [False, True]


def test_precision(gpu):
    args = arguments()
    for precision, name in ((None, "TF32"), ("tensorfloat32", "TF32"), ("highest", "FLOAT32"), ("high", "FLOAT32")):
        with jax.default_matmul_precision(precision):
            bp.value_and_grad(NETWORK, kernel="fused")(*args)
        assert gpu.called[-1].precision == name


def test_absent_examples(gpu):
    """If every weight is zero, cost and gradient are 0, whatever the examples hold; a class that is none gives NaN."""
    params, X, Y, _ = arguments()
    f = bp.value_and_grad(NETWORK, kernel="fused")
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(f(params, X * jnp.nan, Y, Y * 0)))
    for index in (-1, 3, 2**32 + 1):
        assert all(np.isnan(leaf).any() for leaf in jax.tree.leaves(f(params, X, Y.at[7].set(index))))


def test_training(gpu):
    network, optimizer = NETWORK, optax.adam(0.01)
    params, X, Y, _ = arguments()
    data = bp.Dataset(X.T, Y)
    state = bp.train_state(network, optimizer, jax.random.key(1), dtype=jnp.float32)
    for dtype, bound in ((None, 1e-5), (jnp.bfloat16, 2e-2)):
        runs = [
            bp.train_epoch(network, optimizer, 48, l2=0.1, compute_dtype=dtype, kernel=kernel)(state, data)
            for kernel in ("auto", "fused")
        ]
        (state_auto, costs_auto), (state_fused, costs_fused) = runs
        assert close(costs_fused, costs_auto, bound) and close(state_fused.params, state_auto.params, bound)
    fits = [
        bp.fit(network, X, Y, params=params, batch_size=100, epochs=2, kernel=kernel).params
        for kernel in ("auto", "fused")
    ]
    assert close(fits[1], fits[0], 1e-5)
    assert len(gpu.called) >= 3


def test_without_a_gpu():
    args = arguments()
    fused._warn.cache_clear()
    with pytest.warns(RuntimeWarning, match="XLA computes the gradient") as warned:
        found = [bp.value_and_grad(NETWORK, kernel="fused")(*args) for _ in range(2)]
        jax.jit(bp.value_and_grad(NETWORK, kernel="fused"))(*args)
    assert len(warned) == 1
    assert close(found, [bp.value_and_grad(NETWORK)(*args)] * 2, 0)


@pytest.mark.parametrize(
    "network, dtype, said",
    [
        (bp.Network((5, 3)), jnp.float32, r"sizes \(5, 3\)"),
        (bp.Network((5, 129, 3)), jnp.float32, "1 to 16 hidden layers of up to 128 units"),
        (bp.Network((5, 8, 33)), jnp.float32, "32 outputs"),
        (bp.Network((5, 8, 3), "gelu"), jnp.float32, "the activation gelu"),
        (NETWORK, jnp.float64, "parameters of dtype float64"),
        (bp.Network((128,) * 4 + (3,)), jnp.float32, "too large for the registers"),
    ],
)
def test_refused_networks(gpu, network, dtype, said):
    with pytest.raises(ValueError, match=said):
        bp.value_and_grad(network, kernel="fused")(*arguments(7, dtype, network))


def test_refused_options():
    mesh = jax.make_mesh((1,), ("data",))
    options: Any
    for options, said in (
        ({"kernel": "fast"}, "kernel is 'fast'; expected 'auto' or 'fused'"),
        ({"mesh": mesh}, "together with a mesh"),
        ({"block_size": 64}, "whose blocks are its own"),
    ):
        with pytest.raises(ValueError, match=said):
            bp.value_and_grad(NETWORK, **({"kernel": "fused"} | options))
    with pytest.raises(ValueError, match="together with dropout"):
        bp.train_epoch(NETWORK, optax.sgd(0.1), 8, dropout=0.5, kernel="fused")
    with pytest.raises(ValueError, match="together with a mesh"):
        bp.train_epoch(NETWORK, optax.sgd(0.1), 8, mesh=mesh, kernel="fused")
    problem = takes.refusal(NETWORK, jnp.dtype("float32"), Chip("7.5", 72, 65536))
    assert problem and "compute capability 7.5, below 8.0" in problem


def test_refused_transformations(monkeypatch):
    """Whatever the platform, these are refused while JAX traces."""
    monkeypatch.setattr(fused, "chip_here", lambda: HOPPER)
    monkeypatch.setattr(fused, "ptx", lambda *_: "")
    params, X, Y, weights = arguments(7)
    f = bp.value_and_grad(NETWORK, kernel="fused")
    with pytest.raises(ValueError, match="under jax.vmap; expected 1 to 16 hidden layers"):
        jax.vmap(f, in_axes=(None, 0, 0))(params, jnp.stack([X, X]), jnp.stack([Y, Y]))
    with pytest.raises(ValueError, match="under jax.jvp or jax.grad"):
        jax.grad(lambda params: f(params, X, Y)[0])(params)
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh), pytest.raises(ValueError, match="arrays on a mesh"):
        f(params, jax.device_put(X, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, "data"))), Y)


def test_no_nvrtc(monkeypatch):
    from manual_bp._kernel import nvrtc

    def missing(*_, **__):
        raise OSError

    monkeypatch.setattr(nvrtc.ctypes, "CDLL", missing)
    monkeypatch.setattr(nvrtc.importlib.util, "find_spec", lambda _: None)
    nvrtc._library.cache_clear()
    form = takes.form_of(NETWORK, "TF32", True, False, HOPPER)
    with pytest.raises(ImportError, match=r"pip install 'manual_bp\[cuda13\]'"):
        fused.ptx(form, "90")
