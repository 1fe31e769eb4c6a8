"""The privacy loss of a number of steps, computed with the package dp-accounting."""

import functools
import importlib
from types import ModuleType

from manual_bp._checks import numbers

# With less noise than this no bound is computed
LEAST = 0.05


def epsilon(noise_multiplier: float, rate: float, steps: int, delta: float) -> float:
    """Compute the epsilon of `steps` steps of DP-SGD at `delta`, when one example is added or removed.

    The Gaussian mechanism on Poisson samples is composed by its privacy loss distribution (Koskela et al. 2020,
    arXiv:1906.03049). The result is an upper bound, tight up to discretisation; the moments accountant of Abadi et al.
    (2016) gives larger values. Below a noise multiplier of 0.05 the bound is infinite.

    Args:
        noise_multiplier: the standard deviation of the noise over the clipping norm, 0 or above.
        rate: the probability with which an example is in a batch, above 0 and at most 1.
        steps: the number of steps, 1 or more.
        delta: a number above 0 and at most 1; for a meaningful guarantee, below 1 over the number of examples.

    Raises:
        ImportError: the extra `privacy` is missing.
        ValueError, TypeError: a number out of its range.

    Example:
        >>> bp.privacy.epsilon(noise_multiplier=1.1, rate=0.01, steps=100, delta=1e-5) < 1
        True
        >>> bp.privacy.epsilon(noise_multiplier=0.0, rate=0.01, steps=100, delta=1e-5)
        inf
    """
    steps = _check(rate, steps, delta)
    numbers.non_negative("noise_multiplier", noise_multiplier)
    return _epsilon(noise_multiplier, rate, steps, delta)


def noise_multiplier(epsilon: float, rate: float, steps: int, delta: float) -> float:
    """Compute the least noise multiplier, 0.05 or above, that keeps `steps` steps within `epsilon` at `delta`.

    It is found to a relative 1e-4.

    Args, Raises: those of `bp.privacy.epsilon`. The `epsilon` has to be above 0, and reachable with a multiplier below
        a million.

    Example:
        >>> sigma = bp.privacy.noise_multiplier(epsilon=3.0, rate=1.0, steps=2, delta=1e-4)
        >>> bp.privacy.epsilon(sigma, rate=1.0, steps=2, delta=1e-4) <= 3.0
        True
    """
    steps = _check(rate, steps, delta)
    numbers.positive("epsilon", epsilon)
    bound = functools.cache(lambda sigma: _epsilon(sigma, rate, steps, delta))
    low = high = 1.0
    while bound(high) > epsilon:
        low, high = high, 2 * high
        if high > 1e6:
            raise ValueError(
                f"epsilon is {epsilon}, too small for a noise multiplier of {low:g}; expected a larger one"
            )
    while bound(low) <= epsilon and low > LEAST:
        low, high = max(low / 2, LEAST), low
    if bound(low) <= epsilon:
        return LEAST
    step = 4e-5 * low
    sigma = _module("scipy.optimize").brentq(lambda sigma: bound(sigma) - epsilon, low, high, xtol=step)
    # the root is off by a step at most, to either side
    while bound(sigma) > epsilon:
        sigma += step
    return sigma


def _epsilon(sigma: float, rate: float, steps: int, delta: float) -> float:
    events = _module("dp_accounting")
    if sigma < LEAST:
        return float("inf")
    # The loss of a step reaches from 0 to about this. A much finer grid takes gigabytes and is no more accurate
    reach = 1 / (2 * sigma**2) + 10 / sigma
    accountant = _module("dp_accounting.pld").PLDAccountant(value_discretization_interval=max(1e-4, 1e-5 * reach))
    step = events.PoissonSampledDpEvent(rate, events.GaussianDpEvent(sigma))
    return accountant.compose(events.SelfComposedDpEvent(step, steps)).get_epsilon(delta)


def _check(rate: float, steps: int, delta: float) -> int:
    numbers.probability("rate", rate)
    numbers.probability("delta", delta)
    return numbers.count("steps", steps)


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if error.name and error.name.split(".")[0] != "dp_accounting":
            raise
        raise ImportError("privacy accounting needs dp-accounting: pip install 'manual_bp[privacy]'") from None
