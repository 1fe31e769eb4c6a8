"""The private gradient: its bound, its noise, the examples it is about, and what it adds up to."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import DEEP, arrays

import manual_bp as bp
from reference import per_example
from reference.autodiff import Model
from reference.compare import largest_error
from reference.grid import Problem

KEY = jax.random.key(0)
# What all tests of values share, as compiling is most of each
PROBLEM = Problem("softmax", Model((6, 5, 3), "tanh"), 10, "indices")
BOUNDS = [0.7, (0.3, 0.4)]


def noiseless(network, max_norm, batch_size=8.0):
    return bp.private_value_and_grad(network, max_norm, 0.0, batch_size)


def norm(tree):
    return np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(tree)))


@pytest.mark.parametrize("max_norm", BOUNDS)
def test_without_noise_it_is_the_clipped_sum_over_the_expected_size(max_norm):
    network, params, X, Y, _ = arrays(PROBLEM)
    present = np.arange(10) % 3 != 0
    private, all_present = (noiseless(network, max_norm)(params, X, Y, KEY, *of) for of in ((present,), ()))
    grads = jax.jit(per_example.gradients, static_argnums=0)(PROBLEM.model, params, X, Y)
    for found, w in ((private, present), (all_present, np.ones(10))):
        assert largest_error(found.gradient, per_example.clipped(grads, jnp.asarray(w / 8), max_norm)) <= 1e-11
        assert abs(found.cost_not_private - bp.cost(network, params, X, Y, w.astype(float))) <= 1e-14
    cost, gradient = private
    assert cost is private.cost_not_private and gradient is private.gradient


@pytest.mark.parametrize("max_norm", BOUNDS)
def test_any_one_example_moves_it_by_the_clipping_norm_at_most(max_norm):
    network, params, X, Y, _ = arrays(PROBLEM)
    X = np.array(X)
    X[:, 2] *= 1e8
    X[:, 3] = 0
    f, moved = noiseless(network, max_norm), []
    with_all = f(params, X, Y, KEY, np.ones(10, bool)).gradient
    for i in range(10):
        without = f(params, X, Y, KEY, np.arange(10) != i).gradient
        moved.append(norm(jax.tree.map(lambda a, b: np.asarray(a) - b, with_all, without)))
    bound = math.hypot(*max_norm) if isinstance(max_norm, tuple) else max_norm
    assert max(moved) <= bound / 8 * (1 + 1e-12)


@pytest.mark.parametrize("max_norm", BOUNDS)
def test_padding_and_what_is_not_finite_add_nothing(max_norm):
    """As the clipped sum of those present, above, they add nothing, whatever they are."""
    network, params, X, Y, _ = arrays(PROBLEM)
    f, present = noiseless(network, max_norm), np.arange(10) >= 2
    expected = f(params, X, Y, KEY, present)
    for bad in (np.nan, np.inf, 1.0):
        broken = np.where(present, X, bad)
        padded = f(params, broken, Y, KEY, present)
        assert largest_error(tuple(padded), tuple(expected)) <= 1e-12
        if bad != 1.0:
            # present, and still nothing: a NaN in the gradient would tell that it was there
            for everyone in ((), (np.ones(10, bool),)):
                assert largest_error(f(params, broken, Y, KEY, *everyone).gradient, expected.gradient) <= 1e-12
    cost, gradient = f(params, X, Y, KEY, np.zeros(10, bool))
    assert cost == 0 and norm(gradient) == 0


@pytest.mark.parametrize(("max_norm", "sensitivity"), [(0.7, 0.7), ((0.3, 0.4), 0.5)])
def test_noise_has_the_standard_deviation_that_is_accounted_for(max_norm, sensitivity):
    """Added to the sum, before the division by the expected batch size: in every element, whatever the batch."""
    network, params, X, Y, _ = arrays(PROBLEM)
    keys, everyone = jax.random.split(KEY, 400), np.ones(10, bool)
    private = bp.private_value_and_grad(network, max_norm, 1.5, 8.0)
    noisy = jax.jit(jax.vmap(lambda key, present: private(params, X, Y, key, present).gradient, in_axes=(0, None)))
    gradient, drawn = noiseless(network, max_norm)(params, X, Y, KEY, everyone).gradient, noisy(keys, everyone)
    noise = jax.tree.map(lambda d, g: (np.asarray(d) - g).reshape(len(keys), -1), drawn, gradient)
    for leaf in jax.tree.leaves(noise):
        assert abs(np.std(leaf) / (1.5 * sensitivity / 8) - 1) < 5 / math.sqrt(leaf.size)
        assert abs(np.mean(leaf)) < 5 * np.std(leaf) / math.sqrt(leaf.size)
    # one key, one noise, also where nobody is present; no two leaves, nor two keys, share theirs
    assert largest_error(noisy(keys, everyone), drawn) == 0
    nobody = jax.tree.map(lambda d: np.asarray(d).reshape(len(keys), -1), noisy(keys, ~everyone))
    assert largest_error(nobody, noise) <= 1e-12
    (dW1, _), (dW2, _) = noise
    assert abs(np.corrcoef(dW1[:, : dW2.shape[1]].ravel(), dW2.ravel())[0, 1]) < 0.05
    assert abs(np.corrcoef(dW1[:-1].ravel(), dW1[1:].ravel())[0, 1]) < 0.05


def test_the_same_options_compile_once():
    network, *_ = arrays(DEEP)
    options = (network, [0.5] * 4, 1.0, 8)
    assert bp.private_value_and_grad(*options) is bp.private_value_and_grad(*options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_norm": 0}, ValueError, "max_norm is 0; expected a finite number above 0"),
        ({"max_norm": (1.0, 1.0)}, ValueError, "max_norm has length 2; expected a number, or 4"),
        ({"noise_multiplier": -0.1}, ValueError, "noise_multiplier is -0.1; expected a finite number, 0 or above"),
        ({"noise_multiplier": "1"}, TypeError, "noise_multiplier is '1'; expected a number"),
        ({"expected_batch_size": 0}, ValueError, "expected_batch_size is 0; expected a finite number above 0"),
        ({"network": (3, 2)}, TypeError, "network is a tuple; expected a bp.Network"),
        ({"key": 0}, TypeError, r"key is .*; expected a random key: pass jax.random.key\(0\)"),
        ({"present": np.ones(10)}, TypeError, r"present is float64, shape \(10,\); expected booleans, shape \(10,\)"),
        ({"present": jnp.ones(9, bool)}, TypeError, r"present is bool, shape \(9,\); expected booleans, shape \(10,\)"),
        ({"X": jnp.ones((10, 6))}, ValueError, "columns are examples, so pass X.T"),
    ],
)
def test_bad_input(options, error, message):
    network, params, X, Y, _ = arrays(DEEP)
    good = {"network": network, "max_norm": 1.0, "noise_multiplier": 1.0, "expected_batch_size": 8}
    good |= {"params": params, "X": X, "Y": Y, "key": KEY, "present": None} | options
    with pytest.raises(error, match=message):
        *first, params, X, Y, key, present = good.values()
        bp.private_value_and_grad(*first)(params, X, Y, key, present)


def test_the_bound_holds_where_squares_leave_the_range_of_float32():
    network = bp.Network((1, 1), output="identity", cost="squared_error")
    for W, x, y in ((0.0, 9e18, -4e-20), (1.0, 1e10, 0.0), (0.0, 3.0, 1e-25), (0.0, 1e30, 1.0)):
        params = (bp.Layer(jnp.full((1, 1), W, jnp.float32), jnp.zeros((1, 1), jnp.float32)),)
        X, Y = jnp.full((1, 1), x, jnp.float32), jnp.full((1, 1), y, jnp.float32)
        assert norm(noiseless(network, 1e-3, 1.0)(params, X, Y, KEY).gradient) <= 1e-3 * (1 + 1e-6)
        if x < 1e19:
            record = bp.backpropagate(network, params, X, Y)
            expected = 2 * abs(W * x - y) * math.hypot(x, 1)
            assert float(bp.per_example_norms(record)[0]) == pytest.approx(expected, rel=1e-6)
            assert norm(bp.clipped_gradients(record, 1e-3)) == pytest.approx(min(1e-3, expected), rel=1e-6)


def test_options_are_python_floats():
    """A NumPy float64 would widen the gradient; what is traced would be compiled in."""
    network, params, X, Y, _ = arrays(DEEP, dtype=jnp.float32)
    options: Any = jnp.array(1.0), np.float64(0.9), jnp.array(8)
    f = bp.private_value_and_grad(network, *options)
    assert {d.dtype for d in jax.tree.leaves(jax.eval_shape(f, params, X, Y, KEY).gradient)} == {jnp.dtype(jnp.float32)}
    with pytest.raises(TypeError, match="max_norm is traced by JAX; expected a number that is known"):
        jax.jit(lambda C: bp.private_value_and_grad(network, C, 1.0, 8)(params, X, Y, KEY))(1.0)


def test_bfloat16_is_refused():
    network, params, X, Y, _ = arrays(DEEP, dtype=jnp.bfloat16)
    with pytest.raises(TypeError, match="params has dtype bfloat16; expected float32 or float64"):
        noiseless(network, 1.0)(params, X, Y, KEY)
