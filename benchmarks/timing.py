"""Times of programs that take turns, and the ratio of two of them with its interval."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np


def take_turns(
    calls: Mapping[str, Callable[[], Any]],
    seconds: float,
    least: int,
    most: int,
    tick: Callable[[float], None] = lambda fraction: None,
    before: Mapping[str, Callable[[], None]] | None = None,
    after: Mapping[str, Callable[[], None]] | None = None,
) -> dict[str, list[float]]:
    """Seconds of every call, by program: round after round until `seconds` are spent, `least` to `most` rounds.

    A round calls each program once, so that whatever slows the machine for a while meets them all. `tick` is told
    between rounds how much is done. `before` and `after` a program each call has its own, untimed.
    """
    names, orders = list(calls), balanced_orders(len(calls))

    def timed(name: str) -> float:
        if before is not None:
            before[name]()
        seconds = _seconds(calls[name])
        if after is not None:
            after[name]()
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
    """Orders of n programs in which each stands equally often in each place and after each other one (Williams 1949).

    A program finds the caches as its predecessor left them; over n rounds (2n where n is odd) all are treated alike.
    """
    first = [(i + 1) // 2 if i % 2 else (n - i // 2) % n for i in range(n)]
    orders = [[(i + shift) % n for i in first] for shift in range(n)]
    return orders + [order[::-1] for order in orders] if n % 2 else orders


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    result = jax.block_until_ready(call())
    stop = time.perf_counter()
    del result  # kept until here: freeing it is not part of the call
    return stop - start


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
        """In words, of the program in the numerator, which is the manual one."""
        return "no difference" if self.includes_one else "manual faster" if self.high < 1 else "manual slower"

    @property
    def passes_as_control(self) -> bool:
        """Whether two copies of one program are told apart by less than 5 %: the interval lies in [0.95, 1.05].

        5 % is what the manual program is held to. Where a program cannot keep it against itself, the cell is too noisy
        to say anything. That the interval include 1 is not asked: over hundreds of rounds it is narrower than the
        effect of where a copy's code and buffers happen to lie.
        """
        return 0.95 <= self.low and self.high <= 1.05


def ratio(numerator: Sequence[float], denominator: Sequence[float], resamples: int = 2000) -> Ratio:
    """The ratio of two programs' times, formed within each round, with a percentile bootstrap interval of its median.

    The interval is nominal: eight rounds cover about 93 %. The same times give the same interval.
    """
    ratios = np.asarray(numerator) / np.asarray(denominator)
    resampled = np.random.default_rng(0).choice(ratios, (resamples, len(ratios)))
    low, high = np.quantile(np.median(resampled, axis=1), (0.025, 0.975))
    return Ratio(float(np.median(ratios)), float(low), float(high))
