"""The lines of a backward pass, right and with every mistake.

Examples are columns. With examples in rows, the equations and the mistakes are transposed.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reference.checker_proof.subjects import G_PRIME, Subject


class Pass(NamedTuple):
    """The state of a running pass. One of the factors at_output and at_parameters is 1/m, and the other 1."""

    subject: Subject
    at_output: float
    at_parameters: float
    Y: NDArray
    W: dict[int, NDArray]
    Z: dict[int, NDArray]
    A: dict[int, NDArray]
    lines: dict[str, NDArray]


# by the key of the mistake and the way to make it: the line, or the factor to multiply it by
Variants = dict[tuple[str, str], Callable[[], NDArray]]
Factors = dict[tuple[str, str], float]
RIGHT = ("", "")


def factors(p: Pass, line: str) -> Factors:
    """Return the mistakes that multiply a line by a factor."""
    m, n = p.Y.shape[1], len(p.W[int(line[2:])])
    # 1/m and 1/n_l are the same factor if m is n_l
    width = {("factor n_l", "divided"): 1 / n, ("factor n_l", "multiplied"): float(n)} if n != m else {}
    return width | {
        ("wrong sign", ""): -1.0,
        ("extra 1/m", ""): 1 / m,
        ("factor 2", "multiplied"): 2.0,
        ("factor 2", "divided"): 0.5,
        ("scaled by a constant", "0.7"): 0.7,
        ("scaled by a constant", "3.7"): 3.7,
        ("zero", ""): 0.0,
    }


def formulas(p: Pass, line: str) -> Variants:
    """Return the right line and its mistakes that are not a factor."""
    kind, l = line[:2], int(line[2:])
    if l == len(p.W) and (kind == "dA" or p.subject.collapsed and kind == "dZ"):
        return _output(p, l)
    return {"dA": _dA, "dZ": _dZ, "dW": _dW, "db": _db}[kind](p, l)


def _output(p: Pass, l: int) -> Variants:
    """Return the variants of dA[L], or of dZ[L] if the cost is computed from Z[L]."""
    A, Y, s, cost = p.A[l], p.Y, p.at_output, p.subject.cost_name

    def averaged(right: Callable[[], NDArray]) -> Variants:
        return {RIGHT: lambda: s * right(), ("missing 1/m", ""): right}

    if p.subject.collapsed:
        return averaged(lambda: A - Y) | {("g' kept", ""): lambda: s * (A - Y) * A * (1 - A)}
    another = "derivative of another cost"
    if cost == "squared_error":
        return averaged(lambda: 2 * (A - Y)) | {(another, "sign(A - Y)"): lambda: s * np.sign(A - Y)}
    halves: Variants = {(another, "A - Y"): lambda: s * (A - Y), (another, "2 (A - Y)"): lambda: s * 2 * (A - Y)}
    if cost == "absolute_error":
        return halves | averaged(lambda: np.sign(A - Y))
    right = averaged(lambda: -Y / A + (1 - Y) / (1 - A))
    return halves | right | {("cost sign", ""): lambda: s * (Y / A + (1 - Y) / (1 - A))}


def _dZ(p: Pass, l: int) -> Variants:
    dA, Z, A, g = p.lines[f"dA{l}"], p.Z[l], p.A[l], p.subject.activations[l - 1]
    g_prime = G_PRIME[g]
    # identity' is a missing g', and softplus', the sigmoid, can be g for g'
    same = {g, "identity"} | ({"softplus"} if g == "sigmoid" else set())
    return {
        RIGHT: lambda: dA * g_prime(Z),
        ("missing g'", ""): lambda: dA,
        ("g' twice", ""): lambda: dA * g_prime(Z) ** 2,
        ("g' at A", ""): lambda: dA * g_prime(A),
        ("g for g'", ""): lambda: dA * A,
        ("matrix product for element-wise", ""): lambda: dA @ g_prime(Z).T,
    } | {("wrong g'", k): lambda k=k: dA * G_PRIME[k](Z) for k in G_PRIME if k not in same}


def _dA(p: Pass, l: int) -> Variants:
    W, dZ, dW = p.W[l + 1], p.lines[f"dZ{l + 1}"], p.lines[f"dW{l + 1}"]
    variants: Variants = {
        RIGHT: lambda: W.T @ dZ,
        ("missing transpose", ""): lambda: W @ dZ,
        ("dW for W", ""): lambda: dW.T @ dZ,
    }
    for rate in (0.1, 0.4, 1.0):
        variants["updated W", f"by {rate} dW"] = lambda rate=rate: (W - rate * dW).T @ dZ
    for k in p.W.keys() - {l + 1}:
        variants["W of another layer", f"W{k}"] = lambda k=k: p.W[k].T @ dZ
    if f"dA{l + 1}" in p.lines:
        variants["another line", f"dA{l + 1} for dZ{l + 1}"] = lambda: W.T @ p.lines[f"dA{l + 1}"]
    return variants


def _dW(p: Pass, l: int) -> Variants:
    W, dZ, A, s, penalty = p.W[l], p.lines[f"dZ{l}"], p.A[l - 1], p.at_parameters, p.subject.penalty
    R = penalty * W if penalty else 0.0
    variants: Variants = {
        RIGHT: lambda: s * dZ @ A.T + R,
        ("missing 1/m", ""): lambda: dZ @ A.T + R,
        ("transposed", ""): lambda: (s * dZ @ A.T + R).T,
        ("missing transpose", ""): lambda: s * dZ @ A + R,
        ("element-wise for matrix product", ""): lambda: s * dZ * A + R,
    }
    for k in p.A.keys() - {l - 1}:
        variants["wrong activation index", f"A{k}" if k else "X"] = lambda k=k: s * dZ @ p.A[k].T + R
    if l > 1:
        variants["Z for A", ""] = lambda: s * dZ @ p.Z[l - 1].T + R
    if f"dA{l}" in p.lines:
        variants["another line", f"dA{l} for dZ{l}"] = lambda: s * p.lines[f"dA{l}"] @ A.T + R
    if penalty:
        variants["missing term", ""] = lambda: s * dZ @ A.T
        variants["extra 1/m", "but not the penalty"] = lambda: s / A.shape[1] * dZ @ A.T + R
    else:
        variants["extra term", ""] = lambda: s * dZ @ A.T + 0.1 * W
    return variants


def _db(p: Pass, l: int) -> Variants:
    dZ, s = p.lines[f"dZ{l}"], p.at_parameters
    variants: Variants = {
        RIGHT: lambda: s * np.sum(dZ, axis=1, keepdims=True),
        ("missing 1/m", ""): lambda: np.sum(dZ, axis=1, keepdims=True),
        ("wrong axis", "keepdims"): lambda: s * np.sum(dZ, axis=0, keepdims=True),
        ("wrong axis", "without keepdims"): lambda: s * np.sum(dZ, axis=0),
        ("unsummed", ""): lambda: s * dZ,
    }
    # the layers below have no db yet
    for k in range(l + 1, len(p.W) + 1):
        if len(p.W[k]) == len(p.W[l]):
            variants["another line", f"db{k}"] = lambda k=k: p.lines[f"db{k}"]
    if f"dA{l}" in p.lines:
        variants["another line", f"dA{l} for dZ{l}"] = lambda: s * np.sum(p.lines[f"dA{l}"], axis=1, keepdims=True)
    return variants
