"""The derivative of the cost at its output, recognised among those of the usual costs."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from manual_bp.checker._conventions import ratio
from manual_bp.checker._factor import constant_text
from manual_bp.checker._graph import COST
from manual_bp.checker._nodes import renamed

if TYPE_CHECKING:
    from manual_bp.checker._scene import Scene

SQUARED_ERROR = "squared error, or a matched cross-entropy's collapsed dZ"
ONE_SIGN_LOST = "binary cross-entropy with a sign lost"
# the derivative by A, its cost, and whether A has to lie inside (0, 1)
DERIVATIVES = {
    "({A} - {Y})": (lambda A, Y: A - Y, SQUARED_ERROR, False),
    "sign({A} - {Y})": (lambda A, Y: np.sign(A - Y), "absolute error", False),
    "-{Y} / {A}": (lambda A, Y: -Y / A, "categorical cross-entropy", True),
    "(-{Y} / {A} + (1 - {Y}) / (1 - {A}))": (lambda A, Y: -Y / A + (1 - Y) / (1 - A), "binary cross-entropy", True),
    "({Y} / {A} + (1 - {Y}) / (1 - {A}))": (
        lambda A, Y: Y / A + (1 - Y) / (1 - A),
        ONE_SIGN_LOST,
        True,
    ),
    "({A} + {Y})": (lambda A, Y: A + Y, "no usual cost", False),
}
PRIMES = {
    "": lambda A: np.ones_like(A),
    " * {A} * (1 - {A})": lambda A: A * (1 - A),
    " * (1 - {A}**2)": lambda A: 1 - A**2,
}


class Output(NamedTuple):
    """c derivative(A, Y) g'(A), with the texts of the two."""

    c: float
    derivative: str
    prime: str
    A: str
    Y: str
    values: tuple[np.ndarray, np.ndarray]

    def array(self, derivative: str = "", prime: str | None = None) -> np.ndarray:
        """The same with another derivative, or another g'."""
        A, Y = self.values
        return (
            self.c
            * DERIVATIVES[derivative or self.derivative][0](A, Y)
            * PRIMES[self.prime if prime is None else prime](A)
        )

    def others(self) -> list[str]:
        A = self.values[0]
        inside = bool(((A > 0) & (A < 1)).all())
        return [d for d, (_, _, needs) in DERIVATIVES.items() if d != self.derivative and (inside or not needs)]

    def text(self, scene: "Scene") -> str:
        scaled = constant_text(self.c * scene.scale, scene.m, tuple(n for n in self.values[0].shape if n != scene.m))
        body = (self.derivative + self.prime).format(A=self.A, Y=self.Y)
        return f"{body} / {scaled[2:]}" if scaled.startswith("1/") else body if scaled == "1" else f"{scaled} * {body}"


def output_stage(scene: "Scene", line: str, expected: np.ndarray) -> Output | None:
    """An array as a constant times a usual derivative, with a g' after it or not; None if it is no such."""
    if line not in scene.values or not np.isfinite(expected).all() or expected.size == 1:
        return None  # any number is a multiple of any other
    for A_name, A in _outputs(scene, line):
        for Y_name, Y in _targets(scene, A):
            for derivative, (formula, _, inside) in DERIVATIVES.items():
                if inside and not ((A > 0) & (A < 1)).all():
                    continue
                base = formula(A, Y)
                for prime, g_prime in PRIMES.items():
                    c = ratio(expected, base * g_prime(A), scene.tolerance)
                    if c is not None:
                        return Output(c, derivative, prime, A_name, Y_name, (A, Y))
    return None


def output_activations(scene: "Scene") -> dict[str, np.ndarray]:
    """A[L] by its name, where the cost works from Z[L] and has no such intermediate."""
    found = {}
    for node, fed in scene.graph.successors.items():
        if node in scene.graph.nodes and set(fed) == {COST}:
            output = output_stage(scene, node, scene.expected[node])
            if output and output.A not in scene.values:
                found[output.A] = output.values[0]
    return found


def _outputs(scene: "Scene", line: str) -> Iterator[tuple[str, np.ndarray]]:
    value = scene.values[line]
    feeds = [s for s in scene.graph.successors[line] if s in scene.values]
    A = feeds[0] if feeds else renamed(line, "A")
    with np.errstate(over="ignore"):
        yield line, value
        yield A, 1 / (1 + np.exp(-value))
        yield A, np.tanh(value)
        for axis in range(value.ndim):
            e = np.exp(value - value.max(axis=axis, keepdims=True))
            yield A, e / e.sum(axis=axis, keepdims=True)


def _targets(scene: "Scene", A: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    for name, Y in scene.values.items():
        if name in scene.graph.nodes or name in scene.graph.params:
            continue
        if Y.shape == A.shape:
            yield name, Y
        elif Y.dtype.kind == "i" and Y.ndim == 1 and A.ndim == 2 and len(Y) in A.shape:
            columns = A.shape[1] == len(Y)
            one_hot = np.eye(A.shape[0] if columns else A.shape[1])[Y]
            yield f"one_hot({name})", one_hot.T if columns else one_hot
