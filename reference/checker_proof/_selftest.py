"""The checker's proof: planted mistakes and correct passes, what it says of each, and what check_grads says."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any, NamedTuple, TextIO

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from manual_bp.checker._check import check
from manual_bp.checker._inputs import take_apart
from manual_bp.checker._prepare import Prepared, prepare
from manual_bp.checker._report import Report
from reference.checker_proof._plants import Mistake, Style, backward, correct_styles, mistakes
from reference.checker_proof._subjects import Subject, draw

# between the first seven every mistake of the catalogue can be made
SEEDS = (17, 10, 6, 4, 2, 1, 0, *(seed for seed in range(100) if seed not in (17, 10, 6, 4, 2, 1, 0)))


class Planted(NamedTuple):
    """One planted mistake: whether it was noticed, its line blamed and nothing else, and the mistake named."""

    subject: str
    style: Style
    mistake: Mistake
    detected: bool
    line: bool
    diagnosis: bool
    check_grads: bool | None

    def __str__(self) -> str:
        return (
            f"{self.mistake.key} ({self.mistake.how}) at {self.mistake.line} of {self.subject}, {' '.join(self.style)}"
        )


class Proof(NamedTuple):
    """What `selftest` found; print it for the table."""

    planted: tuple[Planted, ...]
    passes: int
    false_alarms: tuple[Report, ...]
    rejected_by_check_grads: int | None
    seconds: float

    def __str__(self) -> str:
        return "\n".join(_table(self))


def selftest(subjects: int = 12, compare: bool = True, stream: TextIO | None = None) -> Proof:
    """Plant every mistake of the catalogue in every layer of random networks, and check correct passes too.

    A subject is a network of 1 to 4 layers with random sizes, activations, cost and data. Each way to write its
    backward pass (examples in columns or rows, 1/m at the output or at dW and db, all lines or some returned) is
    checked as it is, in float64 and on float32 inputs, and the mistakes take turns in those ways. Two mistakes that
    leave the same returned lines, the sign of dA1 and of dZ1 where neither is returned, are one to the checker.

    Args:
        subjects: how many networks, up to 100; about 160 mistakes each.
        compare: also run `jax.test_util.check_grads` on the same mistakes and passes.
        stream: where progress and the table are printed; standard output unless given.
    """
    stream = stream or sys.stdout
    start, planted, alarms, passes, rejected = time.perf_counter(), [], [], 0, 0
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        for number, seed in enumerate(SEEDS[:subjects], 1):
            subject = draw(seed)
            prepared = prepare(subject.cost, subject.params, (subject.X, subject.Y))
            verdicts = [*_correct(subject, np.float64), *_correct(subject, np.float32)]
            passes += len(verdicts)
            alarms += [report for report in verdicts if report.verdict == "wrong"]
            rejected += bool(compare and _rejected(subject, Style("columns", "output", "parameters")))
            planted += _plant(subject, prepared, compare)
            print(f"{number} of {subjects} networks, {len(planted)} mistakes", file=stream, flush=True)
    proof = Proof(tuple(planted), passes, tuple(alarms), rejected if compare else None, time.perf_counter() - start)
    print(f"\n{proof}", file=stream)
    return proof


def _correct(subject: Subject, dtype: Any, draws: int = 6) -> Iterator[Report]:
    """Every way to write the pass right, on several draws of parameters and inputs, computed and judged in a dtype."""
    rng, prepared = np.random.default_rng(0), None
    for _ in range(draws):
        params = {n: (p * rng.uniform(0.2, 2, p.shape)).astype(dtype) for n, p in subject.params.items()}
        args = rng.normal(size=subject.X.shape).astype(dtype), subject.Y.astype(dtype)
        if prepared is None:
            prepared = prepare(subject.cost, params, args, as_given=True)
        prepared = prepared._replace(inputs=take_apart(subject.cost, params, args))
        for style in correct_styles():
            yield check(prepared, backward(subject, style))


def _plant(subject: Subject, prepared: Prepared, compare: bool) -> Iterator[Planted]:
    """Every mistake once, the styles taking turns."""
    by_style = {style: {m: _seen(subject, style, m) for m in mistakes(subject, style)} for style in correct_styles()}
    turns = cycle(by_style)
    for mistake in dict.fromkeys(m for found in by_style.values() for m in found):
        style = next(style for style in turns if mistake in by_style[style])
        report = check(prepared, backward(subject, style, mistake))
        alike = [m for m, seen in by_style[style].items() if seen == by_style[style][mistake]]
        blamed = [line for line in report.lines if line.verdict == "wrong"]
        returned = [line.line[1:] for line in report.lines if line.returned]
        right_line = len(blamed) == 1 and any(
            _same_line(prepared, returned, blamed[0].line[1:], m.line[1:]) for m in alike
        )
        named = {line.mistake for line in blamed} & {m.key for m in alike}
        by_jax = _rejected(subject, Style("columns", style.average, "parameters"), mistake) if compare else None
        yield Planted(subject.name, style, mistake, report.verdict == "wrong", right_line, bool(named), by_jax)


def _seen(subject: Subject, style: Style, mistake: Mistake) -> tuple:
    """The returned lines in short: two mistakes of which this is the same cannot be told apart."""
    lines = backward(subject, style, mistake)(subject.params, subject.X, subject.Y).values()
    return tuple((a.shape, *np.round(a.ravel()[:8] / (np.abs(a).max() or 1.0), 7)) for a in lines)


def _same_line(prepared: Prepared, returned: list[str], blamed: str, planted: str) -> bool:
    """Whether the blamed line is the planted one, or, as far as the returned lines can tell, as good as that."""

    def follows(name: str) -> set[str]:
        return {name} if name in returned else prepared.graph.descendants(name, returned)

    return follows(blamed) == follows(planted)


def _rejected(subject: Subject, style: Style, *planted: Mistake) -> bool:
    """What jax.test_util.check_grads says of the same pass, as the rule of a custom_vjp."""
    pass_ = backward(subject, style, *planted)

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
    columns: dict[str, Callable[[Planted], Any]] = {
        "planted": lambda p: True,
        "detected": lambda p: p.detected,
        "line": lambda p: p.line,
        "diagnosis": lambda p: p.diagnosis,
    }
    if proof.rejected_by_check_grads is not None:
        columns["check_grads"] = lambda p: p.check_grads
    counts = {name: Counter(p.mistake.key for p in proof.planted if count(p)) for name, count in columns.items()}
    yield f"{'mistake':32s}" + "".join(f"{name:>12s}" for name in columns)
    for key in sorted(counts["planted"]):
        yield f"{key:32s}" + "".join(f"{counts[name][key]:12d}" for name in columns)
    yield f"{'all':32s}" + "".join(f"{counts[name].total():12d}" for name in columns)
    yield ""
    if proof.rejected_by_check_grads is not None:
        yield "check_grads says that a projection of the whole gradient is off: it names no line and no mistake."
    networks = len({p.subject for p in proof.planted})
    yield f"{proof.passes} correct passes of {networks} networks: {len(proof.false_alarms)} called wrong" + (
        ""
        if proof.rejected_by_check_grads is None
        else f"; check_grads rejects {proof.rejected_by_check_grads} of {networks}"
    )
    yield f"{proof.seconds:.0f} s"
    for p in proof.planted:
        if not (p.detected and p.line and p.diagnosis):
            yield f"missed: {p}"
