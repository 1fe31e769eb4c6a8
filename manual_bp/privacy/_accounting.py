"""What a number of private steps give away, by the package dp-accounting."""

import importlib
from types import ModuleType

from manual_bp._checks import numbers


def epsilon(noise_multiplier: float, rate: float, steps: int, delta: float) -> float:
    """The epsilon of `steps` steps of DP-SGD, at `delta`, under adding or removing one example.

    The Gaussian mechanism on Poisson samples, composed by its privacy loss distribution (Koskela et al. 2020,
    arXiv:1906.03049), an upper bound that is tight up to discretisation; the moments accountant of Abadi et al. (2016)
    gives larger values. Below a noise multiplier of 0.05 the bound is infinite.

    Args:
        noise_multiplier: standard deviation of the noise over the clipping norm, 0 or above.
        rate: the probability with which an example is in a batch, above 0 and at most 1.
        steps: how many, 1 or more.
        delta: above 0 and at most 1; a guarantee that means something has it below 1 over the number of examples.

    Raises:
        ImportError: the extra `privacy` is missing.
        ValueError, TypeError: a number out of its range.
    """
    steps = _check(rate, steps, delta)
    numbers.non_negative("noise_multiplier", noise_multiplier)
    return _epsilon(noise_multiplier, rate, steps, delta)


def noise_multiplier(epsilon: float, rate: float, steps: int, delta: float) -> float:
    """The least noise multiplier, from 0.05 on, with which `steps` steps stay within `epsilon` at `delta`.

    To 1e-4, by bisection.

    Args, Raises: those of `bp.privacy.epsilon`; epsilon above 0, and large enough for a multiplier below a million.
    """
    steps = _check(rate, steps, delta)
    numbers.positive("epsilon", epsilon)
    low, high = 0.0, 1.0
    while _epsilon(high, rate, steps, delta) > epsilon:
        low, high = high, 2 * high
        if high > 1e6:
            raise ValueError(f"epsilon is {epsilon}; expected more: a noise multiplier of {low:g} is not enough for it")
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if _epsilon(middle, rate, steps, delta) <= epsilon else (middle, high)
    return high


def _epsilon(sigma: float, rate: float, steps: int, delta: float) -> float:
    events = _module("dp_accounting")
    if sigma < 0.05:
        return float("inf")
    # The loss of a step reaches from 0 to about this; a grid much finer than that takes gigabytes and tells no more
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
