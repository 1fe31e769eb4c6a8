import itertools
import os
import types

import numpy as np
from benchmark_runs import gradients as cell

from benchmarks import environment, rows, timing
from benchmarks.program import Compiled


def synthetic(ratio, rounds, seed, noise=0.03):
    """Times of two programs on a machine whose speed drifts, their median ratio known."""
    rng = np.random.default_rng(seed)
    drift = np.exp(np.cumsum(rng.normal(0, 0.05, rounds)))
    return ratio * drift * rng.lognormal(0, noise, rounds), drift * rng.lognormal(0, noise, rounds)


def test_interval_holds_the_true_ratio_and_shows_a_shift():
    for rounds, least in ((8, 0.84), (40, 0.9), (200, 0.9)):
        found = [timing.ratio(*synthetic(0.8, rounds, seed)) for seed in range(100)]
        assert np.mean([r.low <= 0.8 <= r.high for r in found]) >= least
        assert all(r.low <= r.median <= r.high for r in found)
    shifted = [timing.ratio(*synthetic(ratio, 40, 1)) for ratio in (1 / 1.1, 1.0, 1.1)]
    assert [r.verdict for r in shifted] == ["manual faster", "no difference", "manual slower"]
    assert timing.ratio(*synthetic(1.1, 40, 1)) == shifted[2]  # the same times, the same interval


def test_control():
    assert timing.Ratio(0.97, 0.96, 0.98).passes_as_control
    assert not timing.Ratio(1.0, 0.94, 1.0).passes_as_control and not timing.Ratio(1.0, 1.0, 1.06).passes_as_control


def test_orders_are_balanced():
    for n in (1, 2, 3, 4, 5):
        orders = timing.balanced_orders(n)
        copies = len(orders) // n
        assert all(sorted(place) == sorted(list(range(n)) * copies) for place in zip(*orders, strict=True))
        followed = sorted(pair for order in orders for pair in itertools.pairwise(order))
        assert followed == sorted(list(itertools.permutations(range(n), 2)) * copies)


def test_rounds_keep_to_the_plan(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(clock)))
    called, fractions = [], []
    calls = {name: Compiled(called.append, (name,)) for name in "abcd"}
    times = timing.take_turns(calls, 50.0, 3, 100, fractions.append)
    rounds = len(times["a"])
    assert 3 < rounds < 10 and {len(t) for t in times.values()} == {rounds} and times["a"] == [1.0] * rounds
    assert called[-4 * rounds :][:8] == list("abdcbcad")
    assert fractions == sorted(fractions) and 0 <= fractions[0] and 0.5 < fractions[-1] <= 1
    assert len(timing.take_turns(calls, 1.0, 7, 7)["a"]) == 7
    assert len(timing.take_turns(calls, 1e3, 1, 5)["a"]) == 5


def test_what_comes_before_and_after_a_call_is_not_timed(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(timing, "time", types.SimpleNamespace(perf_counter=lambda: float(next(clock))))
    seen = []

    class Noted(Compiled):
        def ready(self):
            seen.append("ready")
            next(clock)

        def rest(self):
            seen.append("rest")
            next(clock)

    programs = {name: Noted(lambda name: (seen.append(name), next(clock)), (name,)) for name in "ab"}
    assert timing.take_turns(programs, 1.0, 3, 3) == {"a": [2.0] * 3, "b": [2.0] * 3}
    assert all(seen[i] == "ready" and seen[i + 2] == "rest" for i in range(0, len(seen), 3))


def test_the_share_of_other_processes():
    start = environment.Clock(wall=10.0, busy=100.0, own=5.0)
    cores = os.cpu_count() or 1
    assert environment.share_of_others(start, environment.Clock(20.0, 100.0 + 7 * cores, 5.0 + 4 * cores)) == 0.3
    assert environment.share_of_others(start, environment.Clock(20.0, 101.0, 7.0)) == 0.0  # counted in ticks
    assert environment.share_of_others(None, start) is None


def test_noise_is_in_units_of_what_is_allowed():
    """The width of the interval, the control and, where it is known, the share of other processes."""
    quiet = timing.Ratio(1.0, 0.9, 1.1)
    assert rows.is_told(cell(4, control=1.0), quiet)
    for row, found in (
        (cell(4, control=1.0), timing.Ratio(1.2, 1.0, 1.51)),
        (cell(4, control=1.06), quiet),
        (cell(4, control=0.94), quiet),
        (cell(4, control=1.0) | {"others_cpu": 0.06}, quiet),
    ):
        assert not rows.is_told(row, found) and rows.verdict(row, found) == "too noisy to tell"
    assert rows.is_told(cell(4, control=1.0, noise=0), timing.Ratio(1.2, 1.0, 1.5))
    assert rows.is_told(cell(4, control=1.0, noise=0) | {"others_cpu": 0.05}, quiet)
    assert rows.noise(cell(4, control=1.0, noise=0), timing.Ratio(1.0, 0.5, 1.5)) == 2.0
    assert rows.noise(cell(4, control=1.0, noise=0) | {"others_cpu": 0.2}, quiet) == 4.0


def test_a_name_without_a_number_is_followed_by_family_and_model():
    listed = "processor\t: 0\nvendor_id\t: of it\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: {}\nstepping\t: 1\n\n"
    for name, described in (
        ("AMD EPYC", "AMD EPYC (family 25, model 17)"),
        ("A Processor @ 2.60GHz", "A Processor @ 2.60GHz (family 25, model 17)"),
        ("AMD EPYC 7B13", "AMD EPYC 7B13"),
    ):
        assert environment.processor(listed.format(name) + listed.format("another").replace("17", "18")) == described
    assert environment.processor("model name\t: A Core\n") == "A Core" and environment.processor("") is None
    assert environment.slug("AMD EPYC (family 25, model 17)") == "amd-epyc-family-25-model-17"
    assert environment.slug("Intel(R) Core(TM) i7") == "intel-core-i7"
