"""The line of a weight that multiplies element by element: the sum of dout * N over the axes along which it repeats."""

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from manual_bp.checker.diagnose.evidence import Candidate, Evidence
from manual_bp.checker.diagnose.known_factors import values_of_shape


class WeightedSum(NamedTuple):
    """The sum over some axes of the line upstream times a known value."""

    axes: tuple[int, ...]
    name: str
    value: NDArray
    shape: tuple[int, ...]

    def code(self, d: str) -> str:
        axis = self.axes[0] if len(self.axes) == 1 else self.axes
        keep = ", keepdims=True" if len(self.shape) == self.value.ndim else ""
        return f"({d} * {self.name}).sum(axis={axis}{keep})"

    def mistakes(self, D: NDArray, d: str, others: dict[str, NDArray]) -> Iterator[Candidate]:
        key, product = "weighted sum", D * self.value
        yield Candidate(key, self._sum(D), f"the factor {self.name} is missing: it is the sum of {d} alone")
        for axes in _choices(D.ndim):
            if axes != self.axes:
                made, text = (
                    product.sum(axis=axes),
                    f"{d} * {self.name} is summed over axes {axes}, not over {self.axes}",
                )
                if made.size == np.prod(self.shape, dtype=int):
                    yield Candidate("wrong axis", made.reshape(self.shape), text)
        for name, other in others.items():
            if name != self.name:
                yield Candidate(key, self._sum(D * other), f"{name} is used in place of {self.name}")

    def _sum(self, array: NDArray) -> NDArray:
        return array.sum(axis=self.axes).reshape(self.shape)


def _choices(ndim: int) -> list[tuple[int, ...]]:
    return [a for k in range(1, ndim + 1) for a in combinations(range(ndim), k)]


def find_weighted_sum(evidence: Evidence, line: str, D: NDArray, expected: NDArray) -> WeightedSum | None:
    if not 1 <= D.ndim <= 4 or expected.size >= D.size:
        return None
    for name, value in values_of_shape(evidence, D.shape):
        for axes in _choices(D.ndim) if name != line else ():
            made = (D * value).sum(axis=axes)
            if made.size == expected.size and evidence.same(made.reshape(expected.shape), expected):
                return WeightedSum(axes, name, value, expected.shape)
    return None
