"""Mistakes in the lines at an activation and at the cost: dZ = dA * g'(Z), and the derivative of the loss."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from manual_bp._activations import ACTIVATIONS
from manual_bp.checker.diagnose.backward_equations import BackwardEquation, Elementwise, activation_of
from manual_bp.checker.diagnose.candidates import Candidate, wrong_upstream_line
from manual_bp.checker.diagnose.corrected_code import derivative_text
from manual_bp.checker.diagnose.evidence import Evidence
from manual_bp.checker.diagnose.output_derivative import (
    DERIVATIVES,
    ONE_SIGN_LOST,
    PRIMES,
    SQUARED_ERROR,
    OutputDerivative,
)


def mistakes_in_dZ(evidence: Evidence, equation: BackwardEquation, form: Elementwise) -> Iterator[Candidate]:
    """Make dZ = dA * g'(Z) with another factor, another delta, or a matrix product."""
    D, G, Z, A = equation.upstream, form.G, equation.line, equation.successor
    d = f"d{A}"
    if form.G_name:
        yield Candidate("missing factor", D, f"the factor {form.G_name} is missing")
    else:
        yield Candidate("missing g'", D, f"g'({Z}) is missing: d{Z} equals {d}")
    yield Candidate("g' twice", D * G * G, f"g'({Z}) is applied twice")
    if Z in evidence.graph.nodes:
        value, after = evidence.forward_values[Z], evidence.forward_values[A]

        def with_prime_at(node: str) -> np.ndarray:
            shift = {Z: evidence.forward_values[node] - value}
            return D * evidence.contribution(A, np.ones(D.shape), shift)[Z]

        yield Candidate("g' at A", with_prime_at(A), f"g' is taken at {A} instead of {Z}")
        yield Candidate("g for g'", D * after, f"{d} is multiplied by {A} = g({Z}), not by g'({Z})")
        right = derivative_text(evidence, Z, A, G)
        right = right[1:-1] if right.startswith("(") else right
        for text, other in _other_primes(value, after).items():
            yield Candidate("wrong g'", D * other, f"{d} is multiplied by {text.format(Z=Z, A=A)}, not by {right}")
        for node in evidence.graph.nodes:
            if node not in (Z, A) and evidence.forward_values[node].shape == D.shape:
                key = "g' at A" if activation_of(evidence, Z) == node else "g' of another layer"
                yield Candidate(key, with_prime_at(node), f"g' is taken at {node} instead of {Z}")
    for left, right, text in ((D, G.T, " @ g'.T"), (D.T, G, ".T @ g'"), (D, G, " @ g'")):
        if left.ndim == 2 and left.shape[1] == right.shape[0]:
            yield Candidate(
                "matrix product for element-wise",
                left @ right,
                f"{d} and g'({Z}) are multiplied as matrices ({d}{text}), not element by element",
            )
    yield from wrong_upstream_line(evidence, equation, lambda line: line * G if line.shape == G.shape else None)


def _other_primes(Z: np.ndarray, A: np.ndarray) -> dict[str, np.ndarray]:
    """Return factors mistaken for g'(Z): slips in a formula of A, and the derivatives of all activations."""
    slips = {
        "{A} * (1 - {A}), the sigmoid's": A * (1 - A),
        "1 - {A}**2, tanh's": 1 - A**2,
        "1 + {A}**2": 1 + A**2,
        "1 - {A}": 1 - A,
    }
    known = {f"{name}'({{Z}})": (g.g, g.g_prime) for name, g in ACTIVATIONS.items() if g.g_prime and name != "identity"}
    z = jnp.asarray(Z)
    return slips | {text: np.asarray(g_prime(z, g(z))) for text, (g, g_prime) in known.items()}


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
    if form.prime:
        g_prime = form.prime[3:].format(**names)
        yield Candidate("missing g'", form.array(prime=""), f"the output's g', {g_prime}, is missing")
        twice = form.array() * PRIMES[form.prime](form.operands[0])
        yield Candidate("g' twice", twice, "the output's g' is applied twice")
    else:
        for prime in (p for p in PRIMES if p):
            sentence = f"the output's g', {prime[3:].format(**names)}, is applied to {right}, which already contains it"
            yield Candidate("g' kept", form.array(prime=prime), sentence)
