"""The reports of the checker on planted mistakes and on correct passes, counted, next to those of check_grads."""

import functools
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle
from typing import Any, NamedTuple, TextIO

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads
from numpy.typing import NDArray

from manual_bp.checker import Report
from manual_bp.checker._check import report_on
from manual_bp.checker.graph.arguments import flatten_arguments
from manual_bp.checker.judge.traced_cost import TracedCost, trace_cost
from reference.checker_proof.planted_passes import Mistake, Style, correct_styles, planted_pass, possible_mistakes
from reference.checker_proof.subjects import Subject, random_subject

# the first seven allow every mistake of the catalogue
SEEDS = (17, 10, 6, 4, 2, 1, 0, *(seed for seed in range(100) if seed not in (17, 10, 6, 4, 2, 1, 0)))


class Planted(NamedTuple):
    """A planted mistake: whether it was noticed, its line and no other blamed, and the mistake named."""

    subject: str
    style: Style
    mistake: Mistake
    detected: bool
    line: bool
    diagnosis: bool
    check_grads: bool | None

    def __str__(self) -> str:
        key, line, how = self.mistake
        return f"{key} ({how}) at {line} of {self.subject}, {' '.join(self.style)}"


class Proof(NamedTuple):
    """The result of `prove_checker`; print it for the table."""

    planted: tuple[Planted, ...]
    passes: int
    false_alarms: tuple[Report, ...]
    rejected_by_check_grads: int | None
    seconds: float

    def missed(self) -> list[Planted]:
        return [p for p in self.planted if not (p.detected and p.line and p.diagnosis)]

    def __str__(self) -> str:
        return "\n".join(_table(self))


def prove_checker(subjects: int = 12, compare: bool = True, stream: TextIO | None = None) -> Proof:
    """Plant every mistake of the catalogue in every layer of random networks, and check correct passes too.

    A subject is a network of 1 to 4 layers with random sizes, activations, cost and data. Its backward pass is checked
    in every style (examples in columns or rows, 1/m at the output or at dW and db, all lines or some returned), in
    float64 and on float32 inputs. The mistakes are distributed over the styles. Two mistakes that give the same
    returned lines, such as the sign of dA1 and of dZ1 if neither is returned, count as one.

    Args:
        subjects: the number of networks, at most 100, with about 160 mistakes each.
        compare: also run `jax.test_util.check_grads` on the same mistakes and passes.
        stream: the file to print progress and the table to, by default the standard output.
    """
    stream = stream or sys.stdout
    start, planted, alarms, passes, rejected = time.perf_counter(), [], [], 0, 0
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        for number, seed in enumerate(SEEDS[:subjects], 1):
            subject, traced = traced_subject(seed)
            reports = [*_check_correct(subject, traced), *_check_correct(subject)]
            passes += len(reports)
            alarms += [report for report in reports if report.verdict == "wrong"]
            rejected += bool(compare and _rejected_by_jax(subject, Style("columns", "output", "parameters")))
            planted += _plant(subject, traced, compare)
            print(f"{number} of {subjects} networks, {len(planted)} mistakes", file=stream, flush=True)
    proof = Proof(tuple(planted), passes, tuple(alarms), rejected if compare else None, time.perf_counter() - start)
    print(f"\n{proof}", file=stream)
    return proof


@functools.cache
def traced_subject(seed: int) -> tuple[Subject, TracedCost]:
    """Draw a subject and trace its cost in float64."""
    subject = random_subject(seed)
    return subject, trace_cost(subject.cost, subject.params, (subject.X, subject.Y))


def _check_correct(subject: Subject, traced: TracedCost | None = None, draws: int = 6) -> Iterator[Report]:
    """Check the right pass in every style, on several random parameters and inputs, in float32 unless it is traced."""
    rng, dtype = np.random.default_rng(0), np.float64 if traced else np.float32
    for _ in range(draws):
        params = {n: (p * rng.uniform(0.2, 2, p.shape)).astype(dtype) for n, p in subject.params.items()}
        args = rng.normal(size=subject.X.shape).astype(dtype), subject.Y.astype(dtype)
        traced = traced or trace_cost(subject.cost, params, args, as_given=True)
        traced = traced._replace(arguments=flatten_arguments(subject.cost, params, args))
        for style in correct_styles():
            yield report_on(traced, planted_pass(subject, style))


def _plant(subject: Subject, traced: TracedCost, compare: bool) -> Iterator[Planted]:
    """Plant every mistake once, in the styles by turns."""
    possible = possible_mistakes(subject, *correct_styles())
    by_style = {style: {m: _fingerprint(lines) for m, lines in found.items()} for style, found in possible.items()}
    turns = cycle(by_style)
    for mistake in dict.fromkeys(m for found in by_style.values() for m in found):
        style = next(style for style in turns if mistake in by_style[style])
        report = report_on(traced, planted_pass(subject, style, mistake))
        alike = [m for m, seen in by_style[style].items() if seen == by_style[style][mistake]]
        blamed = [line for line in report.lines if line.verdict == "wrong"]
        returned = [line.line[1:] for line in report.lines if line.returned]
        same = [_same_line(traced, returned, line.line[1:], m.line[1:]) for line in blamed for m in alike]
        right_line = len(blamed) == 1 and any(same)
        named = {line.mistake for line in blamed} & {m.key for m in alike}
        by_jax = _rejected_by_jax(subject, Style("columns", style.average, "parameters"), mistake) if compare else None
        yield Planted(subject.name, style, mistake, report.verdict == "wrong", right_line, bool(named), by_jax)


def _fingerprint(lines: dict[str, NDArray]) -> tuple:
    """Summarise the returned lines; mistakes with the same fingerprint cannot be told apart."""
    return tuple((a.shape, *np.round(a.ravel()[:8] / (np.abs(a).max() or 1.0), 7)) for a in lines.values())


def _same_line(traced: TracedCost, returned: list[str], blamed: str, planted: str) -> bool:
    """Return whether the blamed line is the planted one, or one that the returned lines cannot tell from it."""

    def follows(name: str) -> set[str]:
        return {name} if name in returned else traced.graph.returned_descendants(name, returned)

    return follows(blamed) == follows(planted)


def _rejected_by_jax(subject: Subject, style: Style, *planted: Mistake) -> bool:
    """Return whether jax.test_util.check_grads rejects the same pass as the rule of a custom_vjp."""
    pass_ = planted_pass(subject, style, *planted)

    @jax.custom_vjp
    def cost(params: dict) -> Any:
        return subject.cost(params, subject.X, subject.Y, lambda name, value: value)

    def rule(params: dict, cotangent: Any) -> tuple[dict]:
        lines = pass_(params, subject.X, subject.Y)
        return ({name: cotangent * jnp.asarray(lines["d" + name]) for name in params},)

    cost.defvjp(lambda params: (cost(params), params), rule)
    try:
        check_grads(cost, (subject.params,), order=1, modes=["rev"])
    except Exception:
        return True
    return False


def _table(proof: Proof) -> Iterator[str]:
    rejected = proof.rejected_by_check_grads
    columns = ["planted", "detected", "line", "diagnosis"] + ["check_grads"] * (rejected is not None)
    counts = {name: Counter(p.mistake.key for p in proof.planted if getattr(p, name, True)) for name in columns}
    yield f"{'mistake':32s}" + "".join(f"{name:>12s}" for name in columns)
    for key in sorted(counts["planted"]):
        yield f"{key:32s}" + "".join(f"{counts[name][key]:12d}" for name in columns)
    yield f"{'all':32s}" + "".join(f"{counts[name].total():12d}" for name in columns)
    yield ""
    networks = len({p.subject for p in proof.planted})
    by_jax = "" if rejected is None else f"; check_grads rejects {rejected} of {networks}"
    if rejected is not None:
        yield "check_grads reports that a projection of the whole gradient is off: it names no line and no mistake."
    yield f"{proof.passes} correct passes of {networks} networks: {len(proof.false_alarms)} called wrong{by_jax}"
    yield f"{proof.seconds:.0f} s"
    for p in proof.missed():
        yield f"missed: {p}"
