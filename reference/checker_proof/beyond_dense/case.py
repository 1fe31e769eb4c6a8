"""A backward pass or a rule with its wrong variants, what the checker should say of each, and what it says."""

import functools
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax

from manual_bp.checker import Report, check_custom_vjp
from manual_bp.checker._check import report_on
from manual_bp.checker.judge.traced_cost import trace_cost


class Wish(NamedTuple):
    """Regular expressions for the lines to blame, joined by blanks, and for words that a useful diagnosis contains."""

    lines: str
    words: str


class Case(NamedTuple):
    """A pass, or a rule if there is no cost, made by `make` for each of its variants; "right" is one of them."""

    name: str
    cost: Callable | None
    make: Callable[[str], Callable]
    arguments: tuple
    wishes: Mapping[str, Wish]


class Outcome(NamedTuple):
    """The verdict on a wrong variant, the lines blamed, and whether these and the diagnosis are as wished."""

    case: str
    variant: str
    verdict: str
    blamed: str
    right_lines: bool
    useful: bool
    report: Report


def checker_of(case: Case) -> Callable[[str], Report]:
    """Return the function that checks a variant; a cost is traced once for all of them."""
    if case.cost is None:
        return lambda variant: check_custom_vjp(case.make(variant), *case.arguments)
    cost, (params, *args) = case.cost, case.arguments
    trace = functools.cache(lambda: trace_cost(cost, params, tuple(args)))

    def check(variant: str) -> Report:
        with jax.enable_x64(True), jax.default_matmul_precision("highest"):
            return report_on(trace(), case.make(variant))

    return check


def outcome(case: Case, variant: str, report: Report) -> Outcome:
    """Compare the report on a wrong variant with the wish; a guess, marked by "perhaps", is of no use."""
    wish, wrong = case.wishes[variant], [line for line in report.lines if line.verdict == "wrong"]
    blamed = " ".join(line.line for line in wrong)
    said = "\n".join(f"{line.mistake}: {line.diagnosis}\nwrite: {line.suggestion}" for line in wrong)
    right_lines = bool(re.fullmatch(wish.lines, blamed))
    useful = right_lines and bool(re.search(wish.words, said)) and "perhaps" not in said
    return Outcome(case.name, variant, report.verdict, blamed, right_lines, useful, report)
