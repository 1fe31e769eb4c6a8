"""The line upstream of a softmax or a log-softmax, with its Jacobian, and the mistakes in it.

P = softmax(S)      dS = P * (dP - sum of P * dP)
L = log P           dS = dL - P * sum of dL
"""

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from manual_bp.checker.diagnose.evidence import Candidate, Evidence
from manual_bp.checker.diagnose.known_constants import code_of_number, name_constant
from manual_bp.checker.judge.conventions import constant_ratio


class SoftmaxEquation(NamedTuple):
    """c times the product of a line with the Jacobian of a softmax along an axis, or of its logarithm."""

    c: float
    constant: str
    axis: int
    name: str
    P: NDArray
    log: bool

    def of(self, D: NDArray) -> NDArray:
        return self.c * (D - self.P * self._sum(D) if self.log else self.P * (D - self._sum(self.P * D)))

    def code(self, d: str) -> str:
        total = f"sum(axis={self.axis}, keepdims=True)"
        text = f"{d} - np.exp({self.name}) * {d}.{total}"
        if not self.log:
            text = f"{self.name} * ({d} - ({self.name} * {d}).{total})"
        if abs(self.c - 1) <= 1e-6:
            return text
        constant = self.constant.split(", where")[0] or code_of_number(self.c)
        return f"({text}) * {constant}" if self.log else f"{text} * {constant}"

    def mistakes(self, D: NDArray, d: str) -> Iterator[Candidate]:
        P, s = self.P, self._sum(self.P * D)
        p = f"np.exp({self.name})" if self.log else self.name
        others = [a for k in range(1, D.ndim + 1) for a in combinations(range(D.ndim), k) if a != (self.axis,)]
        key, along = "softmax's Jacobian", f"along axis {self.axis}"
        if self.log:
            total = self._sum(D)
            made = {
                f"the sum of {d} {along} is missing: it is {d} - {p} * {d}": D - P * D,
                f"the term {p} * sum of {d} is missing: it equals {d}": D,
                f"the term {p} * sum of {d} has the wrong sign": D + P * total,
                f"the mean of {d} {along} is used in place of the sum": D - P * total / P.shape[self.axis],
                f"{d} is missing: only - {p} * sum of {d} is left": -P * total,
                f"it is softmax's Jacobian, {p} * ({d} - sum of {p} * {d}), not that of its logarithm": P * (D - s),
            }
            wrong = ((f"{d} is summed over axis {a}, not {along}", D - P * D.sum(a, keepdims=True)) for a in others)
        else:
            made = {
                f"only the diagonal of softmax's Jacobian is used, {p} * (1 - {p})": P * (1 - P) * D,
                f"the sum of {p} * {d} {along} is missing: it is {p} * {d}": P * D,
                f"the sum of {p} * {d} {along} has the wrong sign": P * (D + s),
                f"the factor {p} is missing before the bracket": D - s,
                f"the mean of {p} * {d} {along} is used in place of the sum": P * (D - s / P.shape[self.axis]),
                f"{d} is summed {along} without the factor {p}": P * (D - self._sum(D)),
                f"it is the Jacobian of softmax's logarithm, {d} - {p} * sum of {d}": D - P * self._sum(D),
            }
            product = P * D
            wrong = (
                (f"{p} * {d} is summed over axis {a}, not {along}", P * (D - product.sum(a, keepdims=True)))
                for a in others
            )
        for text, line in (*made.items(), *wrong):
            yield Candidate(key, self.c * line, text.replace("(0,)", "0").replace("(1,)", "1").replace("(2,)", "2"))

    def _sum(self, array: NDArray) -> NDArray:
        return array.sum(axis=self.axis, keepdims=True)


def find_softmax(evidence: Evidence, successor: str, D: NDArray, expected: NDArray) -> SoftmaxEquation | None:
    """Recognise the equation by the value of the successor: probabilities, or their logarithms."""
    value = evidence.forward_values.get(successor)
    if value is None or not value.ndim or value.shape != D.shape or D.shape != expected.shape:
        return None
    log = bool((value <= 0).all())
    if not log and not (value >= 0).all():
        return None
    P = np.exp(value) if log else value
    for axis in range(P.ndim):
        if P.shape[axis] > 1 and np.allclose(P.sum(axis=axis), 1, rtol=0, atol=evidence.tolerance):
            equation = SoftmaxEquation(1.0, "", axis, successor, P, log)
            c = constant_ratio(expected, equation.of(D), evidence.tolerance)
            if c:
                return equation._replace(c=c, constant=name_constant(evidence, c))
    return None
