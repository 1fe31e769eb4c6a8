"""The derivative of the cost by its output, recognised among those of the usual costs."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from manual_bp.checker.diagnose.constant_factors import constant_text, digits
from manual_bp.checker.diagnose.evidence import Candidate, Evidence
from manual_bp.checker.diagnose.known_constants import code_of_number
from manual_bp.checker.graph.cost_graph import COST
from manual_bp.checker.graph.nodes import sibling_name
from manual_bp.checker.judge.conventions import constant_ratio

SQUARED_ERROR = "squared error, or the collapsed dZ of a cross-entropy"
ONE_SIGN_LOST = "binary cross-entropy with one sign wrong"
# the derivative by A, its cost, and whether A must lie inside (0, 1)
DERIVATIVES = {
    "({A} - {Y})": (lambda A, Y: A - Y, SQUARED_ERROR, False),
    "sign({A} - {Y})": (lambda A, Y: np.sign(A - Y), "absolute error", False),
    "-{Y} / {A}": (lambda A, Y: -Y / A, "categorical cross-entropy", True),
    "(-{Y} / {A} + (1 - {Y}) / (1 - {A}))": (lambda A, Y: -Y / A + (1 - Y) / (1 - A), "binary cross-entropy", True),
    "({Y} / {A} + (1 - {Y}) / (1 - {A}))": (lambda A, Y: Y / A + (1 - Y) / (1 - A), ONE_SIGN_LOST, True),
    "({A} + {Y})": (lambda A, Y: A + Y, "no usual cost", False),
}
PRIMES = {
    "": lambda A: np.ones_like(A),
    " * {A} * (1 - {A})": lambda A: A * (1 - A),
    " * (1 - {A}**2)": lambda A: 1 - A**2,
}


class OutputDerivative(NamedTuple):
    """The product c derivative(A, Y) g'(A), with the names of A and Y and their values."""

    c: float
    derivative: str
    prime: str
    A: str
    Y: str
    operands: tuple[np.ndarray, np.ndarray]

    def array(self, derivative: str = "", prime: str | None = None) -> np.ndarray:
        """Compute the product, optionally with another derivative or another g'."""
        A, Y = self.operands
        g_prime = PRIMES[self.prime if prime is None else prime]
        return self.c * DERIVATIVES[derivative or self.derivative][0](A, Y) * g_prime(A)

    def others(self) -> list[str]:
        A = self.operands[0]
        inside = bool(((A > 0) & (A < 1)).all())
        return [d for d, (_, _, needs) in DERIVATIVES.items() if d != self.derivative and (inside or not needs)]

    def text(self, m: int, scale: float) -> str:
        factor = constant_text(self.c * scale, m, tuple(n for n in self.operands[0].shape if n != m))
        factor = code_of_number(self.c * scale, m) if factor == digits(self.c * scale) else factor
        body = (self.derivative + self.prime).format(A=self.A, Y=self.Y)
        return f"{body} / {factor[2:]}" if factor.startswith("1/") else body if factor == "1" else f"{factor} * {body}"


def find_output_derivative(evidence: Evidence, line: str, expected: np.ndarray) -> OutputDerivative | None:
    """Write the expected line as a constant times a usual derivative, with or without a g', or return None."""
    if line not in evidence.forward_values or not np.isfinite(expected).all() or expected.size == 1:
        return None  # any number is a multiple of any other
    for A_name, A in _possible_outputs(evidence, line):
        for Y_name, Y in _possible_targets(evidence, A):
            for derivative, (formula, _, inside) in DERIVATIVES.items():
                if inside and not ((A > 0) & (A < 1)).all():
                    continue
                base = formula(A, Y)
                for prime, g_prime in PRIMES.items():
                    c = constant_ratio(expected, base * g_prime(A), evidence.tolerance)
                    if c is not None:
                        return OutputDerivative(c, derivative, prime, A_name, Y_name, (A, Y))
    return None


def mistakes_at_output(form: OutputDerivative) -> Iterator[Candidate]:
    """Make the derivative at the output without its g', with g' twice, or from another cost."""
    names = {"A": form.A, "Y": form.Y}
    right = form.derivative.format(**names)
    for other in form.others():
        cost = DERIVATIVES[other][1]
        key = "cost sign" if cost == ONE_SIGN_LOST else "derivative of another cost"
        sentence = f"it uses {other.format(**names)} ({cost}); the cost's derivative is {right}"
        yield Candidate(key, form.array(other), sentence)
        if cost == SQUARED_ERROR:
            yield Candidate(key, 2 * form.array(other), sentence)
    A, Y = form.operands
    if SQUARED_ERROR == DERIVATIVES[form.derivative][1] and min(A.shape, default=0) == 1 < A.size:
        why = "as where a column and a row or vector broadcast to a matrix"
        yield Candidate(
            "broadcast", form._replace(operands=(A, 0 * Y + Y.mean())).array(), f"the mean of {form.Y} is used, {why}"
        )
        yield Candidate(
            "broadcast", form._replace(operands=(0 * A + A.mean(), Y)).array(), f"the mean of {form.A} is used, {why}"
        )
    if form.prime:
        g_prime = form.prime[3:].format(**names)
        yield Candidate("missing g'", form.array(prime=""), f"the output's g', {g_prime}, is missing")
        twice = form.array() * PRIMES[form.prime](form.operands[0])
        yield Candidate("g' twice", twice, "the output's g' is applied twice")
    else:
        for prime in (p for p in PRIMES if p):
            sentence = f"the output's g', {prime[3:].format(**names)}, is applied to {right}, which already contains it"
            yield Candidate("g' kept", form.array(prime=prime), sentence)


def output_activations(evidence: Evidence) -> dict[str, np.ndarray]:
    """Return A[L] by its name if the cost is computed from Z[L] and has no such node."""
    found = {}
    for node, fed in evidence.graph.successors.items():
        if node in evidence.graph.nodes and set(fed) == {COST}:
            output = find_output_derivative(evidence, node, evidence.expected[node])
            if output and output.A not in evidence.forward_values:
                found[output.A] = output.operands[0]
    return found


def _possible_outputs(evidence: Evidence, line: str) -> Iterator[tuple[str, np.ndarray]]:
    value = evidence.forward_values[line]
    feeds = [s for s in evidence.graph.successors[line] if s in evidence.forward_values]
    A = feeds[0] if feeds else sibling_name(line, "A")
    with np.errstate(over="ignore"):
        yield line, value
        yield A, 1 / (1 + np.exp(-value))
        yield A, np.tanh(value)
        for axis in range(value.ndim):
            e = np.exp(value - value.max(axis=axis, keepdims=True))
            yield A, e / e.sum(axis=axis, keepdims=True)


def _possible_targets(evidence: Evidence, A: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    for name, Y in evidence.forward_values.items():
        if name in evidence.graph.nodes or name in evidence.graph.params:
            continue
        if Y.shape == A.shape:
            yield name, Y
        elif Y.ndim == 1 and A.shape in ((len(Y), 1), (1, len(Y))):
            yield (f"{name}[:, None]", Y[:, None]) if A.shape[1] == 1 else (name, Y[None])
        elif Y.dtype.kind == "i" and Y.ndim == 1 and A.ndim == 2 and len(Y) in A.shape:
            columns = A.shape[1] == len(Y)
            n = A.shape[0] if columns else A.shape[1]
            if not 0 <= Y.min(initial=0) <= Y.max(initial=0) < n:
                continue  # these are no classes
            one_hot = np.eye(n)[Y]
            yield f"one_hot({name})", one_hot.T if columns else one_hot
