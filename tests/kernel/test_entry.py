"""`kernel="fused"` as a user asks for it, without a GPU: the call is made in the emulation's place."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from emulated_kernel import HOPPER

import manual_bp as bp
from manual_bp._kernel import chips, fused, takes
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
    with pytest.warns(RuntimeWarning, match="no NVIDIA GPU here: XLA computes the gradient") as warned:
        found = [bp.value_and_grad(NETWORK, kernel="fused")(*args) for _ in range(2)]
        jax.jit(bp.value_and_grad(NETWORK, kernel="fused"))(*args)
    assert len(warned) == 1
    assert close(found, [bp.value_and_grad(NETWORK)(*args)] * 2, 0)


class Device(NamedTuple):
    """The attributes that the kernel asks of a device of JAX."""

    compute_capability: str
    core_count: int
    shared_memory_per_block_optin: int


def test_two_gpus_and_a_jax_without_the_call(monkeypatch):
    """The kernel is one that both GPUs run; if JAX has no call for it, XLA computes the gradient."""
    monkeypatch.setattr(jax, "local_devices", lambda backend: [Device("10.0", 148, 232448), Device("9.0", 132, 232448)])
    for runs, found in ((True, HOPPER), (False, f"jax {jax.__version__} does not run kernels in PTX")):
        monkeypatch.setattr(chips, "runs_ptx", lambda device, runs=runs: runs)
        chips.chip_here.cache_clear()
        assert chips.chip_here() == found
    chips.chip_here.cache_clear()


def test_ptx_is_no_newer_than_the_driver(monkeypatch):
    """NVRTC's own version may be one that the driver does not read; an older one stays."""
    form = takes.form_of(NETWORK, "TF32", True, False, HOPPER)
    for written, expected in (("9.5", "9.0"), ("13.10", "9.0"), ("8.4", "8.4")):
        text = f"// NVRTC {written}\n.version {written}\n.target sm_90\n"
        monkeypatch.setattr(fused, "compiled", lambda *_, text=text: (f"{text}\0".encode(), ""))
        assert fused.ptx.__wrapped__(form, "90") == f"// NVRTC {written}\n.version {expected}\n.target sm_90\n"


def test_very_many_examples(monkeypatch):
    """They are counted in 32 bits."""
    monkeypatch.setattr(fused, "chip_here", lambda: HOPPER)
    monkeypatch.setattr(fused, "ptx", lambda *_: "")
    params, f = arguments()[0], bp.value_and_grad(NETWORK, kernel="fused")
    for m in (2**31 - 65, 2**31 - 64):
        X, Y = jax.ShapeDtypeStruct((5, m), jnp.float32), jax.ShapeDtypeStruct((m,), jnp.int32)
        if m == 2**31 - 65:
            assert jax.eval_shape(f, params, X, Y)[0].shape == ()
        else:
            with pytest.raises(ValueError, match=r"kernel='fused' has 2,147,483,584 examples; expected"):
                jax.eval_shape(f, params, X, Y)


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
    problem = takes.refusal(NETWORK, jnp.dtype("float32"), 7, Chip("7.5", 72, 65536))
    assert problem and "compute capability 7.5, below 8.0; expected " in problem


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
