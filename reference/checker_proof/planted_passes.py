"""Hand-written backward passes with planted mistakes, for the gradient checker to find and to name.

A pass computes its lines dA[L], dZ[L], dW[L], db[L], dA[L-1], ... in order, each in one of the variants of
line_variants.
"""

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reference.checker_proof.line_variants import RIGHT, Pass, factors, formulas
from reference.checker_proof.subjects import G, Subject


class Style(NamedTuple):
    """The conventions in which a pass is written.

    Args:
        examples: the layout of the lines; in rows, dZ and dA are (m, n_l), dW is (n_{l-1}, n_l) and db (1, n_l). The
            arguments stay in columns.
        average: the place where 1/m is applied: the first line, so that every dZ is a derivative of the cost, or dW and
            db, so that dZ and dA are derivatives of each example's own loss.
        returns: the lines returned: all, all but dA, or dW and db only.
    """

    examples: Literal["columns", "rows"]
    average: Literal["output", "parameters"]
    returns: Literal["all", "deltas", "parameters"]


class Mistake(NamedTuple):
    """The mistake `key` in a line, such as "dZ1", which need not be returned.

    `how` selects a way to make it, such as "divided"; the first if empty.
    """

    key: str
    line: str
    how: str = ""


def correct_styles() -> list[Style]:
    """List all styles; a pass can be right in each."""
    choices = product(("columns", "rows"), ("output", "parameters"), ("all", "deltas", "parameters"))
    return [Style(*choice) for choice in choices]


def planted_pass(subject: Subject, style: Style, *mistakes: Mistake) -> Callable[..., dict[str, NDArray]]:
    """Return a pass (params, X, Y) -> lines by name, which is right except for the mistakes.

    One line can have any number of factors ("wrong sign", "factor 2") and at most one other mistake.
    """

    def lines(params: Mapping[str, Any], X: Any, Y: Any) -> dict[str, NDArray]:
        return _returned(_run_pass(subject, style, mistakes, params, X, Y), style)

    return lines


def possible_mistakes(subject: Subject, *styles: Style) -> dict[Style, dict[Mistake, dict[str, NDArray]]]:
    """Map each style to the mistakes that a subject allows, and these to the lines returned with them.

    The shapes of the subject must allow a mistake, and it must change its line and a returned line.
    """
    data = subject.params, subject.X, subject.Y
    found: dict[Style, dict[Mistake, dict[str, NDArray]]] = {style: {} for style in styles}
    for plain in {style._replace(examples="columns", returns="all"): None for style in styles}:
        right = _run_pass(subject, plain, (), *data)
        mistakes = [Mistake(key, n, how) for n in right.lines for key, how in (*factors(right, n), *formulas(right, n))]
        for mistake in mistakes:
            try:
                wrong = _run_pass(subject, plain, (mistake,), *data)
            except ValueError:
                continue
            changed = {n for n, line in wrong.lines.items() if _differ(line, right.lines[n])}
            for style in styles if mistake.line in changed else ():
                # examples in rows with W as stored is a valid layout, if there is no other W to compare with
                valid = mistake.key == "transposed" and style.examples == "rows" and len(right.W) == 1
                lines = _returned(wrong, style)
                if style.average == plain.average and not valid and changed & lines.keys():
                    found[style][mistake] = lines
    return found


def _differ(a: NDArray, b: NDArray) -> bool:
    return a.shape != b.shape or bool(np.linalg.norm(a - b) > 1e-3 * np.linalg.norm(b))


def _run_pass(subject: Subject, style: Style, mistakes: tuple[Mistake, ...], params: Mapping, X: Any, Y: Any) -> Pass:
    """Compute the forward pass, then the backward pass line by line."""
    L, W, Z, A = len(subject.activations), {}, {}, {0: np.asarray(X)}
    for l, g in enumerate(subject.activations, 1):
        W[l] = np.asarray(params[f"W{l}"])
        Z[l] = W[l] @ A[l - 1] + np.asarray(params[f"b{l}"])
        A[l] = G[g](Z[l])
    average = 1 / A[0].shape[1]
    averages = (average, 1) if style.average == "output" else (1, average)
    p = Pass(subject, *averages, np.asarray(Y), W, Z, A, {})
    made = {f"{d}{l}": [] for l in range(L, 0, -1) for d in ("dA", "dZ", "dW", "db")}
    if subject.collapsed:
        del made[f"dA{L}"]
    for mistake in mistakes:
        made[mistake.line].append(mistake)
    for line in made:
        p.lines[line] = _compute_line(p, line, made[line])
    return p


def _returned(p: Pass, style: Style) -> dict[str, NDArray]:
    kinds = {"all": ("dA", "dZ", "dW", "db"), "deltas": ("dZ", "dW", "db"), "parameters": ("dW", "db")}[style.returns]
    rows = style.examples == "rows"
    return {line: value.T if rows else value for line, value in p.lines.items() if line[:2] in kinds}


def _compute_line(p: Pass, line: str, mistakes: list[Mistake]) -> NDArray:
    """Compute one line, right except for the mistakes."""
    as_formula, as_factor = formulas(p, line), factors(p, line)
    formula, factor = RIGHT, 1.0
    for mistake in mistakes:
        ways = [way for way in (*as_factor, *as_formula) if way[0] == mistake.key and mistake.how in ("", way[1])]
        if not ways:
            raise LookupError(f"{mistake} can't be made in {p.subject.name}")
        way = ways[0]
        if way in as_formula:
            formula = way
        else:
            factor *= as_factor[way]
    return factor * as_formula[formula]()
