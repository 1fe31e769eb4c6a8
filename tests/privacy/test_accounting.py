"""The privacy budget, and batches as its accounting assumes them."""

import functools
import math
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import manual_bp as bp

KEY = jax.random.key(0)


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
    drawn = sum(int(bp.privacy.poisson_sample(key, 10**7, 1e-8).present.sum()) for key in jax.random.split(KEY, 2))
    assert drawn <= 1


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
    budget = functools.partial(bp.privacy.epsilon, rate=0.05, steps=50, delta=1e-4)
    sigma = bp.privacy.noise_multiplier(0.5, 0.05, 50, 1e-4)
    assert 0.498 < budget(sigma) <= 0.5
    assert budget(sigma * 0.99) > 0.5
    assert budget(0) == math.inf
    assert budget(3.0) < budget(2.5)
    assert bp.privacy.epsilon(2.5, 0.05, 60, 1e-4) > budget(2.5)


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
