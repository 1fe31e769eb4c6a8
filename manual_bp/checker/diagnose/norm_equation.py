"""The line upstream of a layer, batch, RMS or l2 norm in one step, and the mistakes in it.

N = (x - mean) r,  r = 1 / sqrt(var + eps),  U = dout w:      dx = r (U - mean of U - N * mean of U N)
"""

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from manual_bp.checker.diagnose.evidence import Candidate, Evidence
from manual_bp.checker.diagnose.known_constants import code_of_number, literals
from manual_bp.checker.diagnose.known_factors import values_of_shape

NORM = "norm"
MOST = 50_000  # elements


class NormEquation(NamedTuple):
    """The norm of x over some axes: with its mean taken out or not, and a mean or a sum of squares."""

    x: str
    value: NDArray
    weight: str
    W: NDArray
    axes: tuple[int, ...]
    centred: bool
    divisor: int  # of the sum of squares: n, n - 1, or 1
    eps: float

    def of(self, D: NDArray) -> NDArray:
        return self.line(D * self.W, D * self.W)

    def line(self, U: NDArray, second: NDArray, mean: float = 1.0, square: float = 1.0, power: int = 1) -> NDArray:
        """Compute the line, with U in the second term and other factors on request."""
        N, r = self._normal()
        centre = mean * U.mean(self.axes, keepdims=True) if self.centred else 0.0
        projected = N * (second * N).sum(self.axes, keepdims=True) / self.divisor
        return r**power * (U - centre - square * projected)

    def code(self, line: str, d: str) -> str:
        axis = f"axis={self.axes[0] if len(self.axes) == 1 else self.axes}, keepdims=True"
        n = int(np.prod([self.value.shape[a] for a in self.axes]))
        total = "mean" if self.divisor == n else "sum"
        over = "" if self.divisor in (1, n) else f" / {self.divisor}"
        x = f"({self.x} - {self.x}.mean({axis}))" if self.centred else self.x
        eps = f" + {code_of_number(self.eps)}" if self.eps else ""
        return "\n".join(
            [
                f"r = 1 / np.sqrt(({x}**2).{total}({axis}){over}{eps})",
                f"N = {x} * r",
                f"U = {d} * {self.weight}" if self.weight else f"U = {d}",
                f"d{line} = r * (U{f' - U.mean({axis})' * self.centred} - N * (U * N).{total}({axis}){over})",
            ]
        )

    def mistakes(self, D: NDArray, d: str, weights: dict[str, NDArray]) -> Iterator[Candidate]:
        n = int(np.prod([self.value.shape[a] for a in self.axes]))
        U, W, x, w = D * self.W, self.W, self.x, self.weight
        u = f"{d} * {w}" if w else d
        scale = "the standard deviation" if self.centred else "the norm"
        variance = f"var({x})" if self.centred else f"mean({x}**2)" if self.divisor == n else f"sum({x}**2)"
        if self.centred:
            yield Candidate(NORM, self.line(U, U, mean=0), f"mean({x}) is taken as a constant: mean({u}) is missing")
            yield Candidate(NORM, self.line(U, U, mean=-1), f"mean({u}) has the wrong sign")
            yield Candidate(NORM, self.line(U, U, mean=n), f"a sum of {u} is used in place of the mean")
        yield Candidate(
            NORM, self.line(U, U, square=0), f"{variance} is taken as a constant: the term of it is missing"
        )
        yield Candidate(NORM, self.line(U, U, 0, 0), f"{variance} and the mean are taken as constants")
        yield Candidate(NORM, self.line(U, U, square=-1), f"the term that comes through {variance} has the wrong sign")
        if self.divisor > 1:
            size = f"{self.divisor} times what it should be: a sum over {_axes(self.axes)} in place of the mean"
            yield Candidate(
                NORM, self.line(U, U, square=self.divisor), f"the term that comes through {variance} is {size}"
            )
        for other in {n, n - 1} - {self.divisor, 0}:
            text = f"it divides by {other}, not by {self.divisor}, in the term that comes through {variance}"
            yield Candidate(NORM, self.line(U, U, square=self.divisor / other), text)
        for factor in (2.0, 0.5):
            yield Candidate(
                NORM,
                self.line(U, U, square=factor),
                f"the term that comes through {variance} is {factor:g} times too large",
            )
        for power, text in ((0, f"1 / {scale} is missing"), (2, f"1 / {scale} is applied twice")):
            yield Candidate(NORM, self.line(U, U, power=power), text)
        yield Candidate(NORM, self.line(U, U, power=-1), f"{scale} is used in place of 1 over it")
        for a in _choices(D.ndim):
            if a != self.axes:
                text = f"the sums go over {_axes(a)}, not over {_axes(self.axes)}"
                m = int(np.prod([self.value.shape[i] for i in a]))
                N, r = self._normal()
                centre = U.mean(a, keepdims=True) if self.centred else 0.0
                divisor = m if self.divisor == n else self.divisor
                bracket = U - centre - N * (U * N).sum(a, keepdims=True) / divisor
                yield Candidate(NORM, r * bracket, text)
                for axis in set(a) - set(self.axes):
                    first = f", and {scale} is that of index 0 of axis {axis} throughout"
                    yield Candidate(NORM, np.take(r, [0], axis) * bracket, text + first)
        if w:
            yield Candidate(NORM, self.line(D, D), f"the factor {w} is missing")
            yield Candidate(
                NORM, self.line(U, D), f"the factor {w} is missing in the term that comes through {variance}"
            )
            yield Candidate(NORM, self.line(U * W, U * W), f"the factor {w} is applied twice")
            N, r = self._normal()
            centre = U.mean(self.axes, keepdims=True) if self.centred else 0.0
            projected = N * (U * N).sum(self.axes, keepdims=True) / self.divisor
            text = f"the factor {w} is applied twice in the term that comes through {variance}"
            yield Candidate(NORM, r * (U - centre - W * projected), text)
            yield Candidate(NORM, self.line(U, U * W), text)
        for name, other in weights.items():
            if name != w:
                text = f"{d} is multiplied by {name or '1'}, not by {w or '1'}"
                yield Candidate(NORM, self.line(D * other, D * other), text)

    def _normal(self) -> tuple[NDArray, NDArray]:
        x = self.value - self.value.mean(self.axes, keepdims=True) if self.centred else self.value
        r = ((x**2).sum(self.axes, keepdims=True) / self.divisor + self.eps) ** -0.5
        return x * r, r


def _axes(axes: tuple[int, ...]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {axes}"


def _choices(ndim: int) -> list[tuple[int, ...]]:
    return [a for k in range(1, ndim + 1) for a in combinations(range(ndim), k)]


def weights_of(evidence: Evidence, line: str, shape: tuple[int, ...]) -> dict[str, NDArray]:
    """Return what the cotangent may be multiplied by: 1, the arguments and nodes of other shapes, 1 + w."""
    found = {"": np.ones(shape)}
    for name, value in list(values_of_shape(evidence, shape))[:6]:
        if name != line and name not in evidence.graph.nodes:
            found |= {name: value, f"(1 + {name})": 1 + value}
    return found


def find_norm(evidence: Evidence, line: str, D: NDArray, expected: NDArray) -> NormEquation | None:
    """Recognise the equation by trying the axes, the divisors and the small numbers of the cost."""
    value = evidence.forward_values.get(line)
    if value is None or D.shape != expected.shape or value.shape != D.shape or not 1 <= D.ndim <= 4 or D.size > MOST:
        return None
    small = [n for n in (*evidence.numbers.values(), *literals(evidence)) if 0 < n < 0.1]
    for weight, W in weights_of(evidence, line, D.shape).items():
        for axes in _choices(D.ndim):
            n = int(np.prod([D.shape[a] for a in axes]))
            for centred in (True, False) if n > 1 else ():
                for divisor in dict.fromkeys((n, n - 1, 1) if n > 2 else (n, 1)):
                    for eps in dict.fromkeys((*small, 0.0)):
                        equation = NormEquation(line, value, weight, W, axes, centred, divisor, eps)
                        with np.errstate(all="ignore"):
                            made = equation.of(D)
                        if np.isfinite(made).all() and evidence.same(made, expected):
                            return equation
    return None
