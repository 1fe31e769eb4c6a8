"""A saved model comes back bit for bit, or not at all and with a reason."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from saved_files import NETWORK, edit, entries, init, parts, refused, same

import manual_bp as bp
from manual_bp._activations import ACTIVATIONS

DEEP = bp.Network((4, 7, 1, 6, 3), ("elu", "gelu", "silu"), "sigmoid")
BITS = {"float32": np.uint32, "float64": np.uint64, "bfloat16": np.uint16}
EXTRA = {"classes": ["a", "ä", "\ud800"], "means": [0.1, -0.0, 1e-320, 2**53 + 1], "on": True, "none": None, "d": {}}


@pytest.fixture
def path(tmp_path):
    bp.save(tmp_path / "model.safetensors", NETWORK, init(), EXTRA)
    return tmp_path / "model.safetensors"


def refusal(path, network=None, dtype=None) -> str:
    return refused(bp.SavedModelError, bp.load, path, network, dtype)


@pytest.mark.parametrize("network", [DEEP, bp.Network((4, 1), (), "identity", "absolute_error")])
def test_round_trip_is_bit_for_bit(network, tmp_path):
    bp.save(str(tmp_path / "model"), network, init(network))
    found = bp.load(str(tmp_path / "model"))
    assert found.network == network and found.extra == {} and same(found.params, init(network))


@pytest.mark.parametrize("dtype", BITS)
def test_every_kind_of_number_survives(dtype, tmp_path):
    """Zeros of both signs, infinities, subnormal numbers, and each bit of a NaN."""
    ones, inf = int(np.iinfo(BITS[dtype]).max), int(np.array(np.inf, jnp.dtype(dtype)).view(BITS[dtype]))
    patterns = np.array([0, ones // 2 + 1, 1, 3, inf, inf + ones // 2 + 1, inf + 1, inf + 5, ones], BITS[dtype])
    W = jnp.array(patterns.view(dtype)[:, None])
    bp.save(tmp_path / "model", bp.Network((1, 9)), (bp.Layer(W, W[::-1]),))
    found = bp.load(tmp_path / "model").params
    assert np.asarray(found[0].W).view(BITS[dtype]).tolist() == patterns[:, None].tolist()


def test_arrays_of_numpy_in_any_layout(tmp_path):
    W = np.asfortranarray(np.arange(30.0).reshape(6, 5))
    layer: Any = bp.Layer
    params = (layer(W.T[:, ::2], np.ones((5, 1))), layer(W[:2], np.ones((2, 1))))
    bp.save(tmp_path / "model", NETWORK, params)
    assert same(bp.load(tmp_path / "model").params, jax.tree.map(jnp.array, params))


@pytest.mark.parametrize("output", ACTIVATIONS)
@pytest.mark.parametrize("cost", ["squared_error", "absolute_error", "cross_entropy"])
def test_every_named_activation_and_cost_comes_back(output, cost, tmp_path):
    if cost == "cross_entropy" and output not in ("sigmoid", "softmax"):
        cost = "squared_error"
    network = bp.Network((3, 4, 2), "relu" if output == "softmax" else output, output, cost)
    bp.save(tmp_path / "model", network, init(network))
    assert bp.load(tmp_path / "model").network == network
    about, _, _ = parts((tmp_path / "model").read_bytes())
    assert (about["output"], about["cost"], about["manual_bp"]) == (output, cost, bp.__version__)


def test_extra_comes_back(path):
    assert repr(bp.load(path).extra) == repr(EXTRA)


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
        bp.save(tmp_path / "model", NETWORK, init(), extra)
    assert entries(tmp_path) == []


def test_what_does_not_fit_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match=r"params has length 4; expected 2 layers"):
        bp.save(tmp_path / "model", NETWORK, init(DEEP))
    with pytest.raises(TypeError, match="network is a str; expected a bp.Network"):
        bp.save(tmp_path / "model", "relu", init())  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"takes 33,5\d\d,\d\d\d bytes as JSON; expected at most 33,554,432"):
        bp.save(tmp_path / "model", NETWORK, init(), {"text": "a" * 2**25})
    assert entries(tmp_path) == []


# Functions of one's own


RELU = ACTIVATIONS["relu"]
SINE = bp.Activation(jnp.sin, lambda Z, A: jnp.cos(Z))
DOUBLE = bp.Activation(functools.partial(jnp.multiply, 2), lambda Z, A: 2 * jnp.ones_like(Z))
QUARTIC = bp.Cost(lambda A, Y: jnp.sum((A - Y) ** 4, axis=0), lambda A, Y: 4 * (A - Y) ** 3)


@pytest.mark.parametrize(
    ("network", "name"),
    [
        (bp.Network((3, 5, 2), SINE), "sin"),
        (bp.Network((3, 5, 2), bp.Activation(RELU.g, SINE.g_prime)), "relu"),
        (bp.Network((3, 5, 2), output="identity", cost=QUARTIC), "<lambda>"),
        # repr has an address, which is another one in the next process
        (bp.Network((3, 5, 2), DOUBLE), "partial"),
    ],
)
def test_own_functions_come_from_the_caller(network, name, tmp_path):
    bp.save(tmp_path / "model", network, init(network))
    assert "0x" not in repr(parts((tmp_path / "model").read_bytes())[0])
    assert f"a function of your own, '{name}', of which only the name is saved: pass" in refusal(tmp_path / "model")
    found = bp.load(tmp_path / "model", network=network)
    assert found.network is network and same(found.params, init(network))


def test_library_functions_made_by_hand_are_the_library_s(tmp_path):
    again = bp.Activation(RELU.g, RELU.g_prime, RELU.init, RELU.g_second)
    bp.save(tmp_path / "model", bp.Network((3, 5, 2), again), init())
    assert bp.load(tmp_path / "model").network == bp.Network((3, 5, 2), "relu")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            bp.Network((3, 6, 2), "tanh"),
            "another model: its network has sizes [3, 5, 2]; the one passed has [3, 6, 2]; pass ",
        ),
        (bp.Network((3, *[10**6] * 50, 2)), "the one passed has [3, 1000000, "),
        (bp.Network((3, 5, 2), "relu"), "its network has hidden ['tanh']; the one passed has ['relu']; pass "),
        (bp.Network((3, 5, 2), SINE), "hidden ['tanh']; the one passed has [{'own': 'sin'}]; pass "),
        (bp.Network((3, 5, 2), "tanh", "sigmoid"), "its network has output softmax; the one passed has sigmoid; pass "),
        (
            bp.Network((3, 5, 2), "tanh", cost="squared_error"),
            "cost cross_entropy; the one passed has squared_error; pass ",
        ),
    ],
)
def test_another_network_is_refused(network, message, path):
    assert message in refusal(path, network)
    with pytest.raises(TypeError, match="network is a tuple; expected a bp.Network"):
        bp.load(path, network=(3, 5, 2))  # pyright: ignore[reportArgumentType]


# Dtypes


def test_float64_is_not_narrowed_unasked(path):
    with jax.enable_x64(False):
        assert "W1 in " in refusal(path) and "has dtype float64, and JAX would make it float32: turn" in refusal(path)
        assert 'or pass dtype="float32"' in refusal(path, dtype="float64")
        found = bp.load(path, dtype="float32").params
    assert same(found, jax.tree.map(lambda leaf: leaf.astype(jnp.float32), init()))


@pytest.mark.parametrize("dtype", [*BITS, jnp.bfloat16, float, None])
@pytest.mark.parametrize("saved", BITS)
def test_dtype_casts(saved, dtype, tmp_path):
    bp.save(tmp_path / "model", NETWORK, init(dtype=saved))
    found = bp.load(tmp_path / "model", dtype=dtype).params
    assert same(found, jax.tree.map(lambda leaf: leaf.astype(dtype or saved), init(dtype=saved)))


@pytest.mark.parametrize("dtype", ["float16", int])
def test_dtype_of_another_kind_is_refused(dtype, path):
    with pytest.raises(TypeError, match=r"dtype is (float16|int64); expected float32, float64, bfloat16"):
        bp.load(path, dtype=dtype)


# Of another version, or crafted, with the right digest


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"sizes": None}, "'sizes'"),
        ({"sizes": [3, 2.5]}, "sizes is [3, 2.5"),
        ({"sizes": [3, 5, 5, 2]}, "hidden has length 1; expected 2"),
        ({"sizes": [3, 6, 2]}, "W[1] has shape (5, 3); expected (6, 3)"),
        ({"sizes": [3, 5, 5, 2], "hidden": ["relu", "relu"]}, "'W3'"),
        ({"sizes": [3, 5], "hidden": []}, "it has more arrays than the network"),
        ({"sizes": [10**6] * 10**5}, "hidden has length 1; expected 99998"),
        ({"hidden": ["swoosh"]}, "hidden[0] is 'swoosh'; expected one of identity, sigmoid"),
        ({"hidden": 7}, "must be an iterable"),
        ({"output": "relu"}, "cross_entropy has output relu; expected 'sigmoid' or 'softmax'"),
        ({"output": 7}, "output is 7"),
        ({"output": {}}, "a function of your own, None, of which only the name is saved"),
        ({"cost": "mse"}, "cost is 'mse'; expected one of squared_error"),
        ({"extra": []}, "its extra is not a dict"),
        ({"members": lambda old: old | {"W1": old["W1"] | {"shape": [3, 5]}}}, "W[1] has shape (3, 5); expected (5,"),
        ({"members": lambda old: old | {"W1": old["W1"] | {"dtype": "I64"}}}, "W[1] has dtype int64; expected float"),
    ],
)
def test_a_description_that_does_not_fit(fields, why, path):
    edit(path, **fields)
    assert why in refusal(path) and str(path) in refusal(path)
