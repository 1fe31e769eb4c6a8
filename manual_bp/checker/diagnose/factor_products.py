"""A factor of a line, written as a product of known ones: dout * silu'(x) * y, or a factor w too many."""

from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from manual_bp.checker.diagnose.backward_equations import BackwardEquation
from manual_bp.checker.diagnose.evidence import Evidence, Finding
from manual_bp.checker.diagnose.known_constants import name_constant
from manual_bp.checker.diagnose.known_factors import ELEMENTS, known_factors, readable, spread_over

FACTORS = MISSING, WRONG, EXTRA = "missing factor", "wrong factor", "extra factor"
FEWEST = 5  # elements, fewer of which any factor fits by chance


class FactorProduct(NamedTuple):
    """A constant times one or two known factors, the second of which may be a divisor; "" stands for 1."""

    constant: str
    first: str
    second: str = ""
    divided: bool = False

    def code(self) -> str:
        if not self.first:
            return self.constant or "1"
        if not self.second:
            text = f"1 / {self.first}" if self.divided else self.first
        else:
            text = f"{self.first} {'/' if self.divided else '*'} {self.second}"
        if self.constant in ("", "-"):
            return self.constant + text
        return f"{text} / {self.constant[2:]}" if self.constant.startswith("1/") else f"{text} * {self.constant}"


def find_product(evidence: Evidence, factor: NDArray, at: NDArray) -> FactorProduct | None:
    """Write a factor, known at the elements `at`, as a product of known ones, or return None."""
    places = np.flatnonzero(at)
    if len(places) < FEWEST or not np.isfinite(factor.ravel()[places]).all():
        return None
    chosen = places[:: -(-len(places) // ELEMENTS)]
    target = factor.ravel()[chosen]
    if not target.any():
        return None
    factors = {"": np.ones(len(chosen))} | known_factors(evidence, factor.shape, chosen)
    product = _search(evidence, factors, target)
    if product is None or len(chosen) == len(places):
        return product
    rest = np.random.default_rng(0).choice(places, ELEMENTS, replace=False)
    others = {"": np.ones(len(rest))} | known_factors(evidence, factor.shape, rest)
    if not {product.first, product.second} <= others.keys():
        return None
    first, second = others[product.first], others[product.second]
    made = (first / second if product.second else 1 / first) if product.divided else first * second
    return product if _constant(evidence, made, factor.ravel()[rest]) == product.constant else None


def _search(evidence: Evidence, factors: dict[str, NDArray], target: NDArray) -> FactorProduct | None:
    texts, rows = list(factors), np.array(list(factors.values()))
    plain = [i for i, text in enumerate(texts) if text.isidentifier() or "[" in text or not text]
    found: list[tuple[int, FactorProduct]] = []
    with np.errstate(all="ignore"):
        inverse = np.where(rows == 0, np.nan, 1 / rows)
        for divided, others in ((False, rows), (True, inverse)):
            for i in chain(plain, [-1] if divided else []):
                made = (rows[i] * others) if i >= 0 else others
                for j in _fitting(made, target, evidence.tolerance):
                    constant = _constant(evidence, made[j], target)
                    if constant is not None:
                        first, second = (texts[i], texts[j]) if i >= 0 and texts[i] else (texts[j], "")
                        product = FactorProduct(constant, first, second, divided)
                        # a node divided by what it is computed from says nothing
                        quotient = divided and bool(second) and first in evidence.graph.nodes
                        number = bool(constant) and not constant.lstrip("-").isidentifier() and constant != "-"
                        found.append((len(product.code()) + 10 * number + 25 * quotient, product))
    return min(found, key=lambda f: f[0])[1] if found else None


def _fitting(made: NDArray, target: NDArray, tolerance: float) -> NDArray:
    """Return the rows that the target is a multiple of."""
    finite = np.isfinite(made).all(axis=1, keepdims=True)
    safe = np.where(finite, made, 0.0)
    squares = np.sum(safe * safe, axis=1)
    c = safe @ target / np.where(squares > 0, squares, 1.0)
    off = np.linalg.norm(target - c[:, None] * safe, axis=1)
    return np.flatnonzero(finite.ravel() & (squares > 0) & (off <= 10 * tolerance * np.linalg.norm(target)))


def _constant(evidence: Evidence, made: NDArray, target: NDArray) -> str | None:
    """Return the constant between the two as code, "" for 1, or None if it has no name."""
    c = float(made @ target) / float(made @ made)
    if not evidence.same_everywhere(target, c * made):
        return None
    sign = "-" if c < 0 else ""
    if abs(abs(c) - 1) <= 10 * evidence.tolerance:
        return sign
    for text, value in (("2", 2.0), ("1/2", 0.5)):
        if abs(abs(c) - value) <= 10 * evidence.tolerance:
            return sign + text
    named = name_constant(evidence, c, 10 * evidence.tolerance).split(", where")[0]
    return sign + named if named else None


def explain_factor(evidence: Evidence, equation: BackwardEquation, found: NDArray) -> Finding | None:
    """Name the factor that is missing from this term of a line, or superfluous, or in place of another one."""
    expected, D, line, d = equation.expected, equation.upstream, equation.line, f"d{equation.successor}"
    if found.shape != expected.shape or found.size < FEWEST:
        return None
    names = list(evidence.forward_values)
    with np.errstate(all="ignore"):
        ratio = np.where(_nonzero(expected), found / expected, 0.0)
    zeros_stay = not np.any(_nonzero(found) & ~_nonzero(expected))
    extra = find_product(evidence, ratio, _nonzero(expected)) if zeros_stay and _varies(ratio) else None
    if extra and not extra.second and extra.first:
        return _of_ratio(extra, names)
    used = right = None
    spread = spread_over(D, expected.shape) if D is not expected else None
    if spread:
        D, at, d = spread[0], _nonzero(spread[0]), d + spread[1]
        with np.errstate(all="ignore"):
            H, G = (np.where(at, a / D, 0.0) for a in (found, expected))
        if not np.any(_nonzero(found) & ~at):
            used, right = find_product(evidence, H, at), find_product(evidence, G, at)
    if used and right:
        wrong, true = readable(used.code(), names), readable(right.code(), names)
        if wrong == "1":
            return Finding(MISSING, f"the factor {true} is missing: d{line} equals {d}")
        return Finding(WRONG, f"{d} is multiplied by {wrong}, not by {true}")
    if used and used.first:
        derivative = f"which is not the derivative of {equation.successor} by {line}"
        return Finding(WRONG, f"{d} is multiplied by {readable(used.code(), names)}, {derivative}")
    return _of_ratio(extra, names) if extra and extra.first else None


def _of_ratio(extra: FactorProduct, names: list[str]) -> Finding:
    code = readable(extra.code(), names)
    if code.startswith(("1 / ", "-1 / ")):
        sign = ", and the sign is wrong" if code.startswith("-") else ""
        return Finding(MISSING, f"the factor {code.split('1 / ', 1)[1]} is missing{sign}")
    return Finding(EXTRA, f"it has the factor {code} too many")


def factor_code(evidence: Evidence, D: NDArray, expected: NDArray) -> str:
    """Return the code of the factor by which a line follows element by element from the one upstream, or ""."""
    if D.shape != expected.shape:
        return ""
    at = _nonzero(D)
    with np.errstate(all="ignore"):
        product = find_product(evidence, np.where(at, expected / D, 0.0), at)
    return product.code() if product else ""


def _nonzero(a: NDArray) -> NDArray:
    return np.abs(a) > 1e-12 * np.abs(a).max(initial=0.0)


def _varies(ratio: NDArray) -> bool:
    return bool(np.ptp(ratio) > 1e-6 * np.abs(ratio).max(initial=0.0))
