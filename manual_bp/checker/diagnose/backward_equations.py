"""The equation by which a line follows from the one upstream of it, recognised by its values.

dW = dZ A^T    db = sum of dZ    dA = W^T dZ    dZ = dA * g'(Z)    and at the cost itself  c (A - Y), c (-Y / A), ...
"""

import math
from collections.abc import Iterator
from itertools import combinations, product
from typing import NamedTuple

import numpy as np

from manual_bp.checker.diagnose.evidence import Evidence
from manual_bp.checker.diagnose.norm_equation import NormEquation, find_norm
from manual_bp.checker.diagnose.output_derivative import OutputDerivative, find_output_derivative
from manual_bp.checker.diagnose.softmax_equation import SoftmaxEquation, find_softmax
from manual_bp.checker.diagnose.weighted_sum import WeightedSum, find_weighted_sum
from manual_bp.checker.graph.cost_graph import COST


class Product(NamedTuple):
    """The matrix product of a line and the value called `name`; either may be transposed, and either may come first."""

    transpose_line: bool
    name: str
    transpose: bool
    line_first: bool

    def of(self, line: np.ndarray, value: np.ndarray) -> np.ndarray | None:
        """Form the same product of another line or value, or return None if the shapes do not allow it."""
        P, Q = _as_matrix(line), _as_matrix(value)
        P, Q = P.T if self.transpose_line else P, Q.T if self.transpose else Q
        P, Q = (P, Q) if self.line_first else (Q, P)
        return P @ Q if P.shape[1] == Q.shape[0] else None

    def transposed(self) -> "Product":
        return Product(not self.transpose_line, self.name, not self.transpose, not self.line_first)


class Sum(NamedTuple):
    axes: tuple[int, ...]


class Elementwise(NamedTuple):
    """The element-wise product with G, and the name of G if it is the value of something."""

    G: np.ndarray
    G_name: str


class BackwardEquation(NamedTuple):
    """The term of `line` that follows from the line of its successor, which is `upstream`."""

    line: str
    successor: str
    upstream: np.ndarray
    expected: np.ndarray
    form: Product | Sum | Elementwise | OutputDerivative | SoftmaxEquation | NormEquation | WeightedSum | None

    @property
    def origin(self) -> str:
        return "from the cost itself" if self.successor == COST else f"through d{self.successor}"

    def of_term(self, sentence: str) -> str:
        """Say of this term what a sentence says of the line, which has other terms."""
        return f"in the term that comes {self.origin}, {sentence.replace(f'd{self.line} equals', 'that term equals')}"


def possible_products(line: np.ndarray, value: np.ndarray, name: str) -> Iterator[tuple[Product, np.ndarray]]:
    """Form every product of a line and a value that their shapes allow."""
    for transpose_line, transpose, line_first in product((False, True), repeat=3):
        form = Product(transpose_line, name, transpose, line_first)
        array = form.of(line, value)
        if array is not None:
            yield form, array


def find_equations(evidence: Evidence, line: str) -> list[BackwardEquation]:
    """Find the equation for each successor of a node or root, possibly the cost; the line is the sum of their terms."""
    if line not in evidence.equations:
        successors = dict.fromkeys(evidence.graph.successors[line])
        alone = len(successors) == 1
        evidence.equations[line] = [_find_equation(evidence, line, s, alone) for s in successors]
    return evidence.equations[line]


def _find_equation(evidence: Evidence, line: str, successor: str, alone: bool) -> BackwardEquation:
    if successor == COST:
        expected = evidence.contribution(COST)[line]
        return BackwardEquation(line, COST, expected, expected, find_output_derivative(evidence, line, expected))
    D = evidence.line(successor)
    expected = evidence.expected[line] if alone else evidence.contribution(successor)[line]
    form = _find_elementwise(evidence, line, successor, D, expected) or _find_sum(evidence, D, expected)
    form = form or _find_product(evidence, line, D, expected) or find_softmax(evidence, successor, D, expected)
    form = form or find_weighted_sum(evidence, line, D, expected) or find_norm(evidence, line, D, expected)
    return BackwardEquation(line, successor, D, expected, form)


def _find_product(evidence: Evidence, line: str, D: np.ndarray, expected: np.ndarray) -> Product | None:
    # an activation belongs in the gradient of a weight, and a weight in that of an activation
    weights, known, roots = set(evidence.graph.params) - {line}, evidence.forward_values, evidence.graph.roots
    first = known.keys() - weights if line in roots else weights
    # names given with tap before those of arguments
    names = sorted(known.keys() - {line}, key=lambda name: (name not in first, name in roots, name))
    for name in names:
        value = known[name]
        if np.isfinite(value).all():
            # with m = 1 a transposed product has the right values too, but not the shape
            found = sorted(possible_products(D, value, name), key=lambda made: made[1].shape != expected.shape)
            for form, array in found:
                if array.size == expected.size and evidence.same(array.reshape(expected.shape), expected):
                    return form
    return None


def _find_sum(evidence: Evidence, D: np.ndarray, expected: np.ndarray) -> Sum | None:
    for axes in (a for k in range(1, D.ndim + 1) for a in combinations(range(D.ndim), k)):
        total = D.sum(axis=axes)
        if total.size == expected.size and evidence.same(total.reshape(expected.shape), expected):
            return Sum(axes)
    return None


def _find_elementwise(
    evidence: Evidence, line: str, successor: str, D: np.ndarray, expected: np.ndarray
) -> Elementwise | None:
    if D.shape != expected.shape:
        return None
    G = evidence.contribution(successor, np.ones(D.shape))[line]
    if not evidence.same(D * G, expected):
        return None
    return Elementwise(G, next((n for n, v in evidence.forward_values.items() if evidence.same(G, v)), ""))


def _as_matrix(array: np.ndarray) -> np.ndarray:
    """Return a vector as a column, a scalar as a 1 by 1 matrix, and a stack of matrices as one with all their rows."""
    return array.reshape(-1, 1) if array.ndim < 2 else array.reshape(math.prod(array.shape[:-1]), array.shape[-1])
