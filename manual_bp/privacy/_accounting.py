"""What a number of private steps give away, by the package dp-accounting."""

import importlib
from types import ModuleType
from typing import Any

from manual_bp import _numbers as numbers


def epsilon(noise_multiplier: float, rate: float, steps: int, delta: float) -> float:
    """The epsilon of `steps` steps of DP-SGD, at `delta`, under adding or removing one example.

    The Gaussian mechanism on Poisson samples, composed by its privacy loss distribution (Koskela et al. 2020,
    arXiv:1906.03049), an upper bound that is tight up to discretisation; the moments accountant of Abadi et al. (2016)
    gives larger values.

    Args:
        noise_multiplier: standard deviation of the noise over the clipping norm, 0 or above; at 0 epsilon is infinite.
        rate: the probability with which an example is in a batch, above 0 and at most 1.
        steps: how many, 1 or more.
        delta: above 0 and at most 1; below 1 over the number of examples, to mean much.

    Raises:
        ImportError: the extra `privacy` is missing.
        ValueError, TypeError: a number out of its range.
    """
    _check(rate, steps, delta)
    if not numbers.non_negative("noise_multiplier", noise_multiplier):
        return float("inf")
    return _accountant().compose(_steps(noise_multiplier, rate, steps)).get_epsilon(delta)


def noise_multiplier(epsilon: float, rate: float, steps: int, delta: float) -> float:
    """The least noise multiplier with which `steps` steps stay within `epsilon` at `delta`, to 1e-4.

    Args, Raises: those of `bp.privacy.epsilon`; epsilon above 0.
    """
    _check(rate, steps, delta)
    numbers.positive("epsilon", epsilon)
    accounting = _module("dp_accounting")
    return accounting.calibrate_dp_mechanism(
        _accountant,
        lambda sigma: _steps(sigma, rate, steps),
        epsilon,
        delta,
        accounting.LowerEndpointAndGuess(0, 1),
        tol=1e-4,
    )


def _check(rate: float, steps: int, delta: float) -> None:
    numbers.probability("rate", rate)
    numbers.count("steps", steps)
    numbers.probability("delta", delta)


def _accountant() -> Any:
    return _module("dp_accounting.pld").PLDAccountant()


def _steps(noise_multiplier: float, rate: float, steps: int) -> Any:
    events = _module("dp_accounting")
    step = events.PoissonSampledDpEvent(rate, events.GaussianDpEvent(noise_multiplier))
    return events.SelfComposedDpEvent(step, steps)


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if error.name and error.name.split(".")[0] != "dp_accounting":
            raise
        raise ImportError("privacy accounting needs dp-accounting: pip install 'manual_bp[privacy]'") from None
