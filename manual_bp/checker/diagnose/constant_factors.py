"""The mistake in a line, or in one of its terms, that is a constant times the right one: 1/m, 2, -1, a width."""

import numpy as np

from manual_bp.checker.diagnose.evidence import Evidence, Finding
from manual_bp.checker.diagnose.known_constants import argument_constant, name_constant
from manual_bp.checker.judge.norms import norm, projection

CONSTANT = "scaled by a constant"
PLAIN_FACTORS = "missing 1/m", "extra 1/m", "factor 2", "factor n_l", "wrong sign", CONSTANT


def factor_mistake(evidence: Evidence, line: str, c: float) -> Finding:
    """Name the mistake in a line that is c times what it should be."""
    finding = constant_mistake(c, evidence.m, () if argument_constant(evidence, c) else _widths(evidence, line))
    name = name_constant(evidence, c) if finding.mistake == CONSTANT and "(" not in finding.diagnosis else ""
    if not name or name == digits(abs(c)):
        return finding
    sign = ", and the sign is wrong" if c < 0 else ""
    size = digits(abs(c))
    fact = name.removeprefix(f"{size}, where ") if name.startswith(f"{size},") else f"{size} is {name}"
    return finding._replace(diagnosis=f"it is {digits(c)} times what it should be, and {fact}{sign}")


def constant_mistake(c: float, m: int, widths: tuple[int, ...] = (), tolerance: float = 1e-6) -> Finding:
    """Name the mistake that leads to a factor c, with m examples and the sizes of the layers about the line."""
    if abs(c) <= tolerance:
        return Finding("zero", "it is 0 everywhere")
    text = constant_text(c, m, widths, tolerance)
    magnitude, fact = text.removeprefix("-"), f"it is {digits(c)} times what it should be"
    if text == "-1":
        return Finding("wrong sign", f"it has the wrong sign: {fact}")
    sign = ", and the sign is wrong" if c < 0 else ""
    match magnitude:
        case "m":
            return Finding("missing 1/m", f"{fact}, and m = {m}: the average over the examples, 1/m, is missing{sign}")
        case "1/m":
            return Finding("extra 1/m", f"{fact}, and 1/m = 1/{m}: there is one 1/m too many{sign}")
        case "2":
            return Finding("factor 2", f"{fact}: there is one factor of 2 too many{sign}")
        case "1/2":
            return Finding("factor 2", f"{fact}: a factor of 2 is missing{sign}")
    if any(magnitude in (str(n), f"1/{n}") for n in widths):
        swap = "a mean over units was replaced by a sum" if "/" not in magnitude else "a sum was replaced by a mean"
        width = magnitude.removeprefix("1/")
        return Finding("factor n_l", f"{fact}, and {width} is a width of its layer: {swap}{sign}")
    named = "" if text == digits(c) or magnitude.isdigit() else f" ({text})"
    return Finding(CONSTANT, f"{fact}{named}{sign}")


def factor_text(evidence: Evidence, line: str, c: float) -> str:
    """Write a constant as the author of this line might: -1, 2, 1/m, 2/m, n_l, ..., or in digits."""
    text = constant_text(c, evidence.m, _widths(evidence, line))
    if text != digits(c):
        return text
    name = name_constant(evidence, c).split(", where")[0]
    return "-" * (c < 0) + name if name else text


def fitted_multiple(evidence: Evidence, found: list, lines: list, directions: list) -> float | None:
    """Return the nonzero k for which found = line + k direction in all of these arrays, or None."""
    difference = np.concatenate([(f - e).ravel() for f, e in zip(found, lines, strict=True)])
    direction = np.concatenate([d.ravel() for d in directions])
    k = projection(difference, direction) if direction.size > 1 else 0.0
    # the difference has the rounding of the two lines in it
    floor = evidence.tolerance * (norm(difference) + 1e-6 * sum(float(norm(f)) for f in found))
    if not k or norm(difference - k * direction) > floor:
        return None
    triples = zip(found, lines, directions, strict=True)
    return k if all(evidence.same_everywhere(f, e + k * d) for f, e, d in triples) else None


def _widths(evidence: Evidence, line: str) -> tuple[int, ...]:
    """Return the sizes of a line and of those that it is computed from, except m."""
    if evidence.graph.of_rule:
        return ()  # a rule has no layers
    expected = evidence.expected
    shapes = [expected[n].shape for n in (line, *evidence.graph.successors[line]) if n in expected]
    return tuple(n for n in dict.fromkeys(n for shape in shapes for n in shape) if n not in (1, 2, evidence.m))


def constant_text(c: float, m: int, widths: tuple[int, ...] = (), tolerance: float = 1e-6) -> str:
    """Write a constant as 1, m or 1/m, or by 2 or a width and m; else in digits."""
    named = {"1": 1.0, "m": float(m), "1/m": 1 / m}
    for n in (2, *widths):
        named |= {f"{n}": n, f"1/{n}": 1 / n, f"{n}/m": n / m, f"m/{n}": m / n}
        named |= {f"{n} * m": n * m, f"1/({n} * m)": 1 / (n * m)}
    for text, value in named.items():
        for sign in (1, -1):
            if abs(c - sign * value) <= tolerance * abs(c):
                return text if sign > 0 else "-" + text
    return digits(c)


def digits(c: float) -> str:
    """Write a number in six digits, or as 1 + 2.0e-09 if these would be 1."""
    return f"1 {'-' if c < 1 else '+'} {abs(c - 1):.1e}" if c != 1 and f"{c:.6g}" == "1" else f"{c:.6g}"
