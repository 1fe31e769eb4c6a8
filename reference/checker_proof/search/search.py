"""The search: mutants that the checker must not call right, and right passes that it must not call wrong."""

import contextlib
import functools
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple, TextIO

import jax
import numpy as np

from manual_bp.checker._one_pass import FAILED
from reference.checker_proof.search.forms import Form, report
from reference.checker_proof.search.mutations import Mutant, lines_of, mutants, text_of
from reference.checker_proof.search.points import (
    KINDS,
    PROGRAMS,
    SIZES,
    Program,
    cotangent_of_cost,
    draw,
    output_of,
    true_lines,
)

# the relative error above which lines differ by more than rounding, by the dtype that they are computed in
DIFFERENT = {"": 1e-9, "float32": 1e-3, "bfloat16": 0.2}


class Trial(NamedTuple):
    """A pass at a point, and the checker's verdict: "right", "wrong", "cannot tell", or a traceback's last line.

    `truth` is "right", "wrong", "hidden" if the pass is right at this point only, and "elsewhere" if it is right at the
    points around it as well, such as where a branch is not taken, and wrong at others.
    """

    truth: str
    what: str
    verdict: str
    seconds: float
    report: str

    @property
    def is_failure(self) -> bool:
        return self.verdict not in ALLOWED[self.truth]


class Search(NamedTuple):
    """The trials; print it for the counts and the failures."""

    trials: tuple[Trial, ...]
    seconds: float

    def failures(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.is_failure]

    def __str__(self) -> str:
        counts = Counter((t.truth, t.verdict if t.verdict in VERDICTS else "error") for t in self.trials)
        lines = [f"{'the pass is':14s}" + "".join(f"{v:>14s}" for v in (*VERDICTS, "error"))]
        for truth in ALLOWED:
            lines.append(f"{truth:14s}" + "".join(f"{counts[truth, v]:14d}" for v in (*VERDICTS, "error")))
        lines += [f"slowest {max(t.seconds for t in self.trials):.1f} s, in all {self.seconds:.0f} s"]
        return "\n".join([*lines, *(f"{t.truth} called {t.verdict}: {t.what}" for t in self.failures())])


VERDICTS = ("right", "wrong", "cannot tell")
ALLOWED = {"wrong": VERDICTS[1:], "hidden": VERDICTS[1:], "elsewhere": VERDICTS, "right": ("right", "cannot tell")}


def search_checker(wrong: int = 2000, right: int = 2000, seed: int = 0, stream: TextIO | None = None) -> Search:
    """Check random mutants and random right passes, in every form and precision, at random and special points.

    Args:
        wrong: the number of mutants, without those that are right at random points as well.
        right: the number of right passes.
        seed: the seed of both choices.
        stream: the file to print progress and the table to, by default the standard output.
    """
    stream, start, trials = stream or sys.stdout, time.perf_counter(), []
    with jax.enable_x64(True), _programs_kept():
        for kind, number, found in (("wrong", wrong, _mutants(seed)), ("right", right, _right_passes(seed))):
            for i, trial in zip(range(number), found, strict=False):
                trials.append(trial)
                if trial.is_failure:
                    print(f"{trial.truth} called {trial.verdict}: {trial.what}", file=stream, flush=True)
                if (i + 1) % 200 == 0:
                    print(f"{i + 1} of {number} passes that are {kind}", file=stream, flush=True)
    found = Search(tuple(trials), time.perf_counter() - start)
    print(f"\n{found}", file=stream)
    return found


@contextlib.contextmanager
def _programs_kept() -> Iterator[None]:
    """Keep compiled programs on disk, because the many mutants of a function are compared with the same ones."""
    if getattr(jax.config, "jax_compilation_cache_dir", None):
        yield
        return
    names = ("compilation_cache_dir", "persistent_cache_min_compile_time_secs", "persistent_cache_min_entry_size_bytes")
    before = {f"jax_{name}": getattr(jax.config, f"jax_{name}") for name in names}
    with tempfile.TemporaryDirectory() as folder:
        for name, value in zip(before, (folder, 0.0, -1), strict=True):
            jax.config.update(name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                jax.config.update(name, value)


def _mutants(seed: int) -> Iterator[Trial]:
    rng = random.Random(seed)
    left = {program: mutants(program, rng) for program in PROGRAMS}
    while left:
        program = rng.choice(list(left))
        mutant = next(left[program], None)
        if mutant is None:
            del left[program]
            continue
        sizes, kind = rng.choice(list(SIZES)), rng.choice(["normal", "normal", *KINDS])
        inside = rng.choice(["", "", "", "", "float32", "bfloat16"])
        given = rng.choice(["float64", "float32"])
        form = Form(rng.choice(["rule", "lines", "gradients"]), inside, given, False, rng.random() < 0.5)
        point = draw(program, sizes, kind, 0)
        truth = _truth(mutant, form, sizes, point)
        if truth:
            what = f"{mutant}; {form}; {sizes} sizes, {kind} values"
            yield _trial(truth, what, program, mutant.text, form, point)


def _right_passes(seed: int) -> Iterator[Trial]:
    rng = random.Random(seed)
    while True:
        program, sizes, kind = rng.choice(PROGRAMS), rng.choice(list(SIZES)), rng.choice(list(KINDS))
        inside, given = rng.choice(["", "float32", "bfloat16"]), rng.choice(["float64", "float32"])
        everywhere = bool(inside) and rng.random() < 0.5
        form = Form(rng.choice(["rule", "lines", "gradients"]), inside, given, everywhere, rng.random() < 0.5)
        point = draw(program, sizes, kind, rng.randrange(1000))
        what = f"{program.name}; {form}; {sizes} sizes, {kind} values"
        yield _trial("right", what, program, text_of(program), form, point)


def _trial(truth: str, what: str, program: Program, text: str, form: Form, point: dict[str, Any]) -> Trial:
    start = time.perf_counter()
    try:
        found = report(program, text, form, point)
        printed = str(found)
        verdict = FAILED if any(FAILED in line.diagnosis for line in found.lines) else found.verdict
    except Exception as error:
        verdict, printed = f"{type(error).__name__}: {str(error)[:200]}", traceback.format_exc()
    return Trial(truth, what, verdict, time.perf_counter() - start, printed)


def _truth(mutant: Mutant, form: Form, sizes: str, point: dict[str, Any]) -> str:
    """Return "wrong", "hidden", "elsewhere", or "" for a mutant that is right, close to it, or raises an error."""
    program, given = mutant.program, form.returned(mutant.program)
    rule = form.kind == "rule"
    generic, again = (_error(mutant, given, _point(program, sizes, seed), rule) for seed in (1, 2))
    if generic is None or again is None or not max(generic, again) > DIFFERENT[form.inside]:
        return ""
    here = _error(mutant, given, point, rule)
    near, around = (_error(mutant, given, _moved(program, point, size), rule) for size in (1e-3, 0.1))
    if here is None or near is None or around is None or 1e-12 < here <= DIFFERENT[form.inside]:
        return ""
    if here > DIFFERENT[form.inside]:
        return "wrong"
    return "hidden" if near > 1e-9 and around > DIFFERENT[form.inside] else "elsewhere"


def _moved(program: Program, point: dict[str, Any], size: float) -> dict[str, Any]:
    rng = np.random.default_rng(4)
    return {n: a + size * rng.normal(size=a.shape) if n in program.floats() else a for n, a in point.items()}


@functools.cache
def _point(program: Program, sizes: str, seed: int) -> dict[str, Any]:
    return draw(program, sizes, "normal", seed)


def _error(mutant: Mutant, names: list[str], point: dict[str, Any], random_dout: bool) -> float | None:
    """Return the largest relative error of the lines of these names against autodiff, or None if there are none."""
    out = output_of(mutant.program, point)
    dout = np.random.default_rng(3).normal(size=out.shape) if random_dout else cotangent_of_cost(out)
    found, true = lines_of(mutant.text, mutant.program, point, dout), true_lines(mutant.program, point, dout)
    if found is None:
        return None
    return max(_relative_error(found[n], true[n]) for n in names)


def _relative_error(found: np.ndarray, true: np.ndarray) -> float:
    if found.shape != true.shape or not np.isfinite(found).all():
        return np.inf
    distance, size = np.linalg.norm(found - true), np.linalg.norm(true)
    return float(distance / size) if size else float(np.inf if distance else 0.0)
