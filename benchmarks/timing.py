"""The times of programs that are called in turns, and the ratio of two programs' times with its interval."""

import functools
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.program import Program


def take_turns(
    programs: Mapping[str, Program],
    seconds: float,
    least: int,
    most: int,
    tick: Callable[[float], None] = lambda fraction: None,
) -> dict[str, list[float]]:
    """Call the programs in rounds until `seconds` are spent, `least` to `most` rounds: times in seconds, by program.

    A round calls each program once, so that a slow phase of the machine affects all of them. Between rounds, `tick` is
    called with the fraction done.
    """
    names, orders = list(programs), balanced_orders(len(programs))

    def timed(name: str) -> float:
        programs[name].ready()
        seconds = _seconds(programs[name])
        programs[name].rest()
        return seconds

    start = time.perf_counter()
    for order in itertools.cycle(orders):  # warm-up
        for i in order:
            timed(names[i])
        if time.perf_counter() - start > seconds / 10:
            break
    times = {name: [] for name in names}
    start = time.perf_counter()
    for n, order in enumerate(itertools.islice(itertools.cycle(orders), most)):
        elapsed = time.perf_counter() - start
        if n >= least and elapsed > seconds:
            break
        tick(max(n / most, min(n / least, elapsed / seconds)))
        for i in order:
            times[names[i]].append(timed(names[i]))
    return times


def balanced_orders(n: int) -> list[list[int]]:
    """Orders of n programs in which each is equally often in each place and after each other program (Williams 1949).

    A program finds the caches as its predecessor left them. Over n rounds (2n if n is odd) this averages out.
    """
    first = [(i + 1) // 2 if i % 2 else (n - i // 2) % n for i in range(n)]
    orders = [[(i + shift) % n for i in first] for shift in range(n)]
    return orders + [order[::-1] for order in orders] if n % 2 else orders


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    result = jax.block_until_ready(call())
    stop = time.perf_counter()
    del result  # only now, because freeing it is not part of the call
    return stop - start


CONTROL = (0.95, 1.05)  # where the interval of two copies of one program has to lie


class Ratio(NamedTuple):
    """The median of the ratios of paired times, and the ends of its 95 % interval."""

    median: float
    low: float
    high: float

    @property
    def includes_one(self) -> bool:
        return self.low <= 1 <= self.high

    @property
    def verdict(self) -> str:
        """The verdict on the program in the numerator, which is the manual one."""
        return "no difference" if self.includes_one else "manual faster" if self.high < 1 else "manual slower"

    @property
    def passes_as_control(self) -> bool:
        """Whether the interval of two copies of one program lies in [0.95, 1.05].

        The manual program may be at most 5 % slower. If a program differs by more from a copy of itself, the cell is
        too noisy to tell. The interval need not include 1: over hundreds of rounds it is narrower than the effect of
        the addresses at which a copy's code and buffers happen to be.
        """
        return CONTROL[0] <= self.low and self.high <= CONTROL[1]


def ratio(numerator: Sequence[float], denominator: Sequence[float], resamples: int = 2000) -> Ratio:
    """The median of the ratios within each round, with a percentile bootstrap interval.

    The interval is nominal: with eight rounds it covers about 93 %. The same times give the same interval.
    """
    return _ratio((np.asarray(numerator) / np.asarray(denominator)).tobytes(), resamples)


@functools.lru_cache(10_000)  # a report asks for the same ratios again and again
def _ratio(in_rounds: bytes, resamples: int) -> Ratio:
    ratios = np.frombuffer(in_rounds)
    resampled = np.random.default_rng(0).choice(ratios, (resamples, len(ratios)))
    low, high = np.quantile(np.median(resampled, axis=1), (0.025, 0.975))
    return Ratio(float(np.median(ratios)), float(low), float(high))
