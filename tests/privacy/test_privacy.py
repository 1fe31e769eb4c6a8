"""The private gradient: its bound, its noise, the batches it is about, and what it adds up to."""

import functools
import math
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import BY_NAME, DEEP, arrays

import manual_bp as bp
from reference import per_example
from reference.compare import largest_error

KEY = jax.random.key(0)


def noiseless(network, max_norm, batch_size=8.0):
    return bp.private_value_and_grad(network, max_norm, 0.0, batch_size)


def norm(tree):
    return float(jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree))))


@pytest.mark.parametrize("max_norm", [0.7, (0.2, 0.5, 0.3, 0.4)])
def test_without_noise_it_is_the_clipped_sum_over_the_expected_size(max_norm):
    network, params, X, Y, _ = arrays(DEEP)
    private = noiseless(network, max_norm)(params, X, Y, KEY)
    grads = per_example.gradients(DEEP.model, params, X, Y)
    assert largest_error(private.gradient, per_example.clipped(grads, jnp.ones(X.shape[1]) / 8, max_norm)) <= 1e-11
    assert abs(private.cost_not_private - bp.cost(network, params, X, Y)) <= 1e-14
    cost, gradient = private
    assert cost is private.cost_not_private and gradient is private.gradient


def test_any_one_example_moves_it_by_the_clipping_norm_at_most():
    network, params, X, Y, _ = arrays(DEEP)
    X = X.at[:, 2].mul(1e8).at[:, 3].mul(0)
    for max_norm, bound in ((0.3, 0.3), ((0.3, 0.1, 0.2, 0.6), math.hypot(0.3, 0.1, 0.2, 0.6))):
        f = noiseless(network, max_norm)
        with_all = f(params, X, Y, KEY).gradient
        for i in range(X.shape[1]):
            without = f(params, X, Y, KEY, jnp.arange(X.shape[1]) != i).gradient
            moved = norm(jax.tree.map(jnp.subtract, with_all, without))
            assert moved <= bound / 8 * (1 + 1e-12)


def test_padding_and_what_is_not_finite_add_nothing():
    network, params, X, Y, _ = arrays(DEEP)
    f = noiseless(network, 0.5)
    m = X.shape[1]
    expected = f(params, X[:, 2:], Y[2:], KEY)
    for bad in (jnp.nan, jnp.inf, 1.0):
        broken = X.at[:, :2].set(bad)
        padded = f(params, broken, Y, KEY, jnp.arange(m) >= 2)
        assert largest_error(tuple(padded), tuple(expected)) <= 1e-12
        if bad != 1.0:
            # present, and still nothing: a NaN in the gradient would tell that it was there
            assert largest_error(f(params, broken, Y, KEY).gradient, expected.gradient) <= 1e-12
    nobody = bp.private_value_and_grad(network, 0.5, 1.0, 8)(params, X, Y, KEY, jnp.zeros(m, bool))
    assert nobody.cost_not_private == 0 and norm(nobody.gradient) > 0


@pytest.mark.parametrize(("max_norm", "sensitivity"), [(2.0, 2.0), ((0.6, 0.8), 1.0)])
def test_noise_has_the_standard_deviation_that_is_accounted_for(max_norm, sensitivity):
    """Added to the sum, before the division by the expected batch size: in every element, whatever the batch."""
    network, params, X, Y, _ = arrays(BY_NAME["digits classifier"])
    keys = jax.random.split(KEY, 40)
    noisy, exact = (bp.private_value_and_grad(network, max_norm, sigma, 25.0) for sigma in (1.5, 0.0))
    gradient = exact(params, X, Y, KEY).gradient
    drawn = jax.vmap(lambda key: noisy(params, X, Y, key).gradient)(keys)
    noise = jax.tree.map(lambda d, g: np.asarray(d - g).reshape(len(keys), -1), drawn, gradient)
    for leaf in jax.tree.leaves(noise):
        assert abs(np.std(leaf) / (1.5 * sensitivity / 25) - 1) < 5 / math.sqrt(leaf.size)
        assert abs(np.mean(leaf)) < 5 * np.std(leaf) / math.sqrt(leaf.size)
    # one key, one noise; no two leaves, nor two keys, share theirs
    assert largest_error(noisy(params, X, Y, KEY).gradient, noisy(params, X, Y, KEY).gradient) == 0
    (dW1, _), (dW2, _) = noise
    assert abs(np.corrcoef(dW1[:, : dW2.shape[1]].ravel(), dW2.ravel())[0, 1]) < 0.05
    assert abs(np.corrcoef(dW1[0], dW1[1])[0, 1]) < 0.1


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
    assert {d.dtype for d in jax.tree.leaves(f(params, X, Y, KEY).gradient)} == {jnp.dtype(jnp.float32)}
    with pytest.raises(TypeError, match="max_norm is traced by JAX; expected a number that is known"):
        jax.jit(lambda C: bp.private_value_and_grad(network, C, 1.0, 8)(params, X, Y, KEY))(1.0)


def test_bfloat16_is_refused():
    network, params, X, Y, _ = arrays(DEEP, dtype=jnp.bfloat16)
    with pytest.raises(TypeError, match="params has dtype bfloat16; expected float32 or float64"):
        noiseless(network, 1.0)(params, X, Y, KEY)


def test_every_example_is_drawn_alike_and_alone():
    m, rate, draws = 40, 0.3, 4000
    batches = jax.jit(jax.vmap(lambda key: bp.privacy.poisson_sample(key, m, rate)))(jax.random.split(KEY, draws))
    drawn = np.zeros((draws, m))
    for row, indices, present in zip(drawn, *map(np.asarray, batches), strict=True):
        np.add.at(row, indices[present], 1)
    assert set(np.unique(drawn)) == {0, 1}
    error = math.sqrt(rate * (1 - rate) / draws)
    assert np.all(abs(drawn.mean(axis=0) - rate) < 5 * error)
    correlation = np.corrcoef(drawn.T) - np.eye(m)
    assert np.abs(correlation).max() < 6 / math.sqrt(draws)
    # the size varies as a binomial does, and is not fixed
    sizes = drawn.sum(axis=1)
    assert abs(sizes.var() / (m * rate * (1 - rate)) - 1) < 0.15


def test_room_for_the_draw():
    indices, present = bp.privacy.poisson_sample(KEY, 60_000, 256 / 60_000)
    assert 256 + 6 * 16 < len(indices) < 256 + 12 * 16 and 256 - 80 < present.sum() < 256 + 80
    indices, present = bp.privacy.poisson_sample(KEY, 50, 1.0)
    assert present.all() and indices.tolist() == list(range(50))
    assert not bp.privacy.poisson_sample(KEY, 5, 1e-9).present.any()
    # no more often than asked for: a uniform float32 would round 1e-8 up to 1.2e-7
    drawn = sum(int(bp.privacy.poisson_sample(key, 10**7, 1e-8).present.sum()) for key in jax.random.split(KEY, 5))
    assert drawn <= 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0.1), "examples is 0; expected 1 or more"),
        ((jnp.ones((3, 2)), 0.1), r"examples is an array of shape \(3, 2\); expected an integer"),
        ((10, 0.0), "rate is 0.0; expected a number above 0 and at most 1"),
        ((10, 1.5), "rate is 1.5; expected a number above 0 and at most 1"),
    ],
)
def test_bad_sampling(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        bp.privacy.poisson_sample(KEY, *arguments)
    with pytest.raises(TypeError, match=r"key is 0; expected a random key: pass jax.random.key\(0\)"):
        no_key: Any = 0
        bp.privacy.poisson_sample(no_key, 10, 0.5)


# The noise multiplier, sampling rate, steps and delta of published runs, and the epsilon they give, by the moments
# accountant: Abadi et al. (2016), sec. 5.1 and fig. 2, sigma 4, q 0.01, 10,000 steps; the MNIST runs in the README of
# TensorFlow Privacy, 60,000 examples in batches of 256, for 15, 60 and 45 epochs.
PUBLISHED = [
    (4.0, 0.01, 10_000, 1e-5, 1.26),
    (1.3, 256 / 60_000, 15 * 60_000 // 256, 1e-5, 1.19),
    (1.1, 256 / 60_000, 60 * 60_000 // 256, 1e-5, 3.01),
    (0.7, 256 / 60_000, 45 * 60_000 // 256, 1e-5, 7.10),
]


@pytest.mark.parametrize(("sigma", "rate", "steps", "delta", "published"), PUBLISHED)
def test_epsilon_of_published_settings(sigma, rate, steps, delta, published):
    """The moments of our events give the published figure by the published conversion; epsilon is tighter.

    The moments of the sampled Gaussian at integer orders are a binomial sum (Mironov et al. 2019, arXiv:1908.10530).
    """
    orders = range(2, 129)
    log_moments = [
        np.logaddexp.reduce(
            [
                math.lgamma(a + 1) - math.lgamma(k + 1) - math.lgamma(a - k + 1)
                + k * math.log(rate) + (a - k) * math.log1p(-rate) + (k * k - k) / (2 * sigma**2)
                for k in range(a + 1)
            ]
        )
        for a in orders
    ]  # fmt: skip
    by_moments = min((steps * log - math.log(delta)) / (a - 1) for a, log in zip(orders, log_moments, strict=True))
    assert by_moments == pytest.approx(published, rel=0.004)
    found = bp.privacy.epsilon(sigma, rate, steps, delta)
    assert 0.6 * published < found < published


def test_epsilon_of_one_gaussian_is_exact():
    """Without sampling, one step: delta(epsilon) in closed form (Balle and Wang 2018, arXiv:1805.06530)."""
    sigma, delta = 2.0, 1e-5
    epsilon = bp.privacy.epsilon(sigma, 1.0, 1, delta)

    def cdf(x):
        return 0.5 * math.erfc(-x / math.sqrt(2))

    a, b = 1 / (2 * sigma) - epsilon * sigma, -1 / (2 * sigma) - epsilon * sigma
    assert cdf(a) - math.exp(epsilon) * cdf(b) == pytest.approx(delta, rel=1e-2)


def test_noise_for_a_budget():
    budget = functools.partial(bp.privacy.epsilon, rate=0.05, steps=500, delta=1e-4)
    sigma = bp.privacy.noise_multiplier(3.0, 0.05, 500, 1e-4)
    assert 2.99 < budget(sigma) <= 3.0
    assert budget(sigma * 0.99) > 3.0
    assert budget(0) == math.inf
    assert budget(2.0) < budget(1.5)
    assert bp.privacy.epsilon(1.0, 0.05, 500, 1e-4) > bp.privacy.epsilon(1.0, 0.05, 400, 1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1.0, 0.1, 10, 1e-5), "noise_multiplier is -1.0; expected a finite number, 0 or above"),
        ((1.0, 0.0, 10, 1e-5), "rate is 0.0; expected a number above 0 and at most 1"),
        ((1.0, 0.1, 0, 1e-5), "steps is 0; expected 1 or more"),
        ((1.0, 0.1, 10, 0), "delta is 0; expected a number above 0 and at most 1"),
    ],
)
def test_bad_accounting(arguments, message):
    with pytest.raises(ValueError, match=message):
        bp.privacy.epsilon(*arguments)


def test_a_budget_that_is_none():
    with pytest.raises(ValueError, match="epsilon is 0; expected a finite number above 0"):
        bp.privacy.noise_multiplier(0, 0.1, 10, 1e-5)
    # and one that protects nobody is found without gigabytes
    assert 200 < bp.privacy.epsilon(0.05, 1.0, 1, 1e-4) < 400
    assert bp.privacy.noise_multiplier(1e6, 1.0, 1, 1e-4) == pytest.approx(0.05, abs=1e-4)


def test_the_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    monkeypatch.setitem(sys.modules, "dp_accounting.pld", None)
    with pytest.raises(ImportError, match=r"needs dp-accounting: pip install 'manual_bp\[privacy\]'"):
        bp.privacy.epsilon(1.0, 0.1, 10, 1e-5)
