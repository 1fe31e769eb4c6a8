"""The constants that an engineer multiplies by: sizes, their square roots, the numbers of the cost, norms."""

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from jax.extend import core

from manual_bp.checker.diagnose.evidence import Evidence


def name_constant(evidence: Evidence, c: float, tolerance: float = 1e-6) -> str:
    """Write |c| as 1/sqrt(5), (m - 1)/m, 1/keep and so on, with the source of the number, or return "".

    An argument comes first. Where a size and a number written in the cost both explain it, neither is known to be the
    reason; a number with many digits, such as sqrt(5), was computed.
    """
    if name := argument_constant(evidence, c, tolerance):
        return name
    sizes = {evidence.m, *_sizes(evidence)}  # a mean divides by one of them
    numbers = [n for n in literals(evidence) if n not in sizes]
    written = _fitting((t for n in numbers if float(f"{n:.6g}") == n for t in _about_literal(n)), c, tolerance)
    by_size = _fitting(_about_sizes(evidence), c, tolerance)
    if by_size and written:
        return ""
    computed = (t for n in numbers for t in _about_literal(n))
    return by_size or _fitting(computed, c, tolerance) or _fitting(_others(evidence), c, tolerance)


def argument_constant(evidence: Evidence, c: float, tolerance: float = 1e-6) -> str:
    """Write |c| by an argument that is one number, such as 1/delta, or return ""."""
    return _fitting(_arguments(evidence), c, tolerance)


def _fitting(known: Iterator[tuple[str, float, str]], c: float, tolerance: float) -> str:
    for text, value, source in known:
        if 0 < value < math.inf and abs(value - 1) > 1e-9 and abs(abs(c) - value) <= tolerance * value:
            return f"{text}, where {source}" if source else text
    return ""


def code_of_number(c: float, m: int = 1) -> str:
    """Write a number with all its digits as 0.1, 0.5 / 7 for m = 7, or 1 / 18."""
    whole = Fraction(c).limit_denominator(1000) if math.isfinite(c) else Fraction(0)
    divided = (f"{c * m:.6g}", m), (f"{whole.numerator}", whole.denominator)
    for text, over in ((f"{c:.6g}", 1), *divided):
        if abs(float(text) / over - c) <= 1e-13 * abs(c):
            return f"{text} / {over}" if over > 1 else text
    return repr(float(c))


def all_digits(n: float) -> str:
    return f"{n:.6g}" if float(f"{n:.6g}") == n else repr(n)


def _arguments(evidence: Evidence) -> Iterator[tuple[str, float, str]]:
    values = {n: evidence.forward_values[n] for n in evidence.graph.inputs if n in evidence.forward_values}
    scalars = {n: float(v.item()) for n, v in values.items() if v.size == 1 and v.dtype.kind == "f"}
    for name, n in (scalars | dict(evidence.numbers)).items():
        yield from _about_number(name if n > 0 else f"abs({name})", n, f"{name} = {n:.6g}")


def _about_literal(n: float) -> Iterator[tuple[str, float, str]]:
    return _about_number(all_digits(abs(n)), n, f"{all_digits(n)} is a number in the cost")


def _about_sizes(evidence: Evidence) -> Iterator[tuple[str, float, str]]:
    sizes, m = _sizes(evidence), evidence.m
    for n, source in sizes.items():
        yield f"{n}", n, source
        yield f"1/{n}", 1 / n, source
    if m > 1 and set(evidence.graph.params) != set(evidence.graph.roots):
        yield from _about_size("m", m, f"m = {m}")
    for n, source in sizes.items():
        yield from _about_size(str(n), n, source)


def _others(evidence: Evidence) -> Iterator[tuple[str, float, str]]:
    for n in range(3, 13):
        yield f"{n}", n, ""
        yield f"1/{n}", 1 / n, ""
    for name, value in evidence.forward_values.items():
        size = float(np.linalg.norm(value)) if value.dtype.kind == "f" and np.isfinite(value).all() else 0.0
        if size:
            for power in (1, 2, 3):
                norm = f"norm({name})" if value.size > 1 else name if value.item() > 0 else f"abs({name})"
                text = norm + f"**{power}" * (power > 1)
                yield text, _power(size, power), ""
                yield f"1/{text}", _power(size, -power), ""


def _about_size(text: str, n: int, source: str) -> Iterator[tuple[str, float, str]]:
    yield f"sqrt({text})", math.sqrt(n), source
    yield f"1/sqrt({text})", 1 / math.sqrt(n), source
    yield f"{text}**2", n**2, source
    yield f"1/{text}**2", n**-2, source
    if n > 1:
        yield f"({text} - 1)/{text}", (n - 1) / n, source
        yield f"{text}/({text} - 1)", n / (n - 1), source
        yield f"({text} - 1)", n - 1, source
        yield f"1/({text} - 1)", 1 / (n - 1), source


def _about_number(text: str, n: float, source: str) -> Iterator[tuple[str, float, str]]:
    if not n or not math.isfinite(n):
        return
    n = abs(n)
    yield text, n, source
    yield f"1/{text}", _power(n, -1), source
    yield f"{text}**2", _power(n, 2), source
    yield f"1/{text}**2", _power(n, -2), source
    if n < 1:
        other = 1 - n
        yield f"(1 - {text})", other, source
        yield f"1/(1 - {text})", 1 / other, source
        yield f"{text}/(1 - {text})", n / other, source
        yield f"(1 - {text})/{text}", other * _power(n, -1), source
    elif n > 1:
        yield f"sqrt({text})", math.sqrt(n), source
        yield f"1/sqrt({text})", 1 / math.sqrt(n), source


def _power(n: float, power: int) -> float:
    """Return the power, or infinity where it is too large for a float."""
    try:
        return n**power
    except OverflowError:
        return math.inf


def _sizes(evidence: Evidence) -> dict[int, str]:
    """Return the sizes of all axes, each with the first array and axis that has it."""
    found: dict[int, str] = {}
    for name, value in evidence.forward_values.items():
        for axis, n in enumerate(value.shape):
            if n > 1:
                found.setdefault(n, f"{name} has size {n} along axis {axis}")
    return found


def literals(evidence: Evidence) -> list[float]:
    """Return the numbers written in the cost, but for 0, 1, 2 and 1/2."""
    found: dict[float, None] = {}

    def collect(jaxpr: core.Jaxpr) -> None:
        for equation in jaxpr.eqns:
            for operand in equation.invars:
                if isinstance(operand, core.Literal) and np.ndim(operand.val) == 0:
                    if np.asarray(operand.val).dtype.kind == "f":
                        found[float(operand.val)] = None
            for inner in core.jaxprs_in_params(equation.params):
                collect(inner)

    collect(evidence.graph.jaxpr.jaxpr)
    return [n for n in found if abs(n) not in (0.0, 1.0, 2.0, 0.5) and math.isfinite(n)]
