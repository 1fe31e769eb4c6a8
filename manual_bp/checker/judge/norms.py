"""Norms, projections and relative errors in which no square underflows or overflows: elements may be of 1e-200."""

import numpy as np


def _to_unit_size(*arrays: np.ndarray) -> tuple[list[np.ndarray], int]:
    """Divide the arrays by one power of 2, which rounds nothing; return its exponent too."""
    largest = max(float(np.max(np.abs(a), initial=0.0)) for a in arrays)
    exponent = int(np.frexp(largest)[1]) if 0 < largest < np.inf and not 1e-100 < largest < 1e100 else 0
    return [np.ldexp(np.asarray(a, np.float64), -exponent) if exponent else a for a in arrays], exponent


def norm(array: np.ndarray) -> float:
    """Return the root of the sum of the squares of all elements."""
    (scaled,), exponent = _to_unit_size(array)
    return float(np.ldexp(np.linalg.norm(scaled), exponent))


def projection(found: np.ndarray, on: np.ndarray) -> float:
    """Return the c for which c times `on` is nearest to `found`, or 0 if `on` is 0."""
    (a,), up = _to_unit_size(found)
    (b,), down = _to_unit_size(on)
    square = float(np.vdot(b, b))
    return float(np.ldexp(np.vdot(b, a) / square, up - down)) if square else 0.0


def is_underflow(found: np.ndarray, expected: np.ndarray, eps: float) -> bool:
    """Return whether the difference can come from numbers too small for the dtype with this eps, which become 0."""
    tiny = float(np.finfo(np.float64 if eps < 1e-10 else np.float32).tiny)
    return norm(found - expected) <= (1e3 * tiny if expected.any() else tiny**0.5)


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Return |found - expected| / |expected|, skipping entries that are not finite; infinity if those differ."""
    with np.errstate(invalid="ignore", over="ignore"):
        difference = found - expected
        sizes = norm(difference), norm(expected)
        if not np.isfinite(sizes).all():
            is_finite = np.isfinite(expected)
            if (np.isfinite(found) != is_finite).any():
                return float("inf")
            sizes = norm(difference[is_finite]), norm(expected[is_finite])
        if not sizes[1]:
            return float("inf") if sizes[0] else 0.0
        return float(np.divide(*sizes))
