"""A line that is a constant times what it should be, or a sum of such terms: what the constant is made of."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from manual_bp.checker._scene import Scene

CONSTANT = "scaled by a constant"


class Finding(NamedTuple):
    """A mistake's key and a sentence; not exact where the line is a multiple of what the mistake leads to."""

    mistake: str
    diagnosis: str
    exact: bool = True


def scaled(scene: "Scene", line: str, c: float) -> Finding:
    """The name of a constant factor."""
    if abs(c) <= 1e-6:
        return Finding("zero", "it is 0 everywhere")
    text = times(scene, line, c)
    magnitude, what = text.removeprefix("-"), f"it is {c:.6g} times what it should be"
    if text == "-1":
        return Finding("wrong sign", "it has the wrong sign: " + what)
    sign = ", and the sign is wrong" if c < 0 else ""
    match magnitude:
        case "m":
            return Finding(
                "missing 1/m", f"{what}, and m = {scene.m}: the average over the examples, 1/m, is missing{sign}"
            )
        case "1/m":
            return Finding("extra 1/m", f"{what}, and 1/m = 1/{scene.m}: there is a 1/m too many{sign}")
        case "2" | "1/2":
            return Finding(
                "factor 2", f"{what}: a factor of 2 is {'too many' if magnitude == '2' else 'missing'}{sign}"
            )
    if any(magnitude in (str(n), f"1/{n}") for n in widths(scene, line)):
        way = "the sum over the outputs stands for their mean" if "/" not in magnitude else "a mean stands for a sum"
        return Finding("factor n_l", f"{what}, and {magnitude.removeprefix('1/')} is a width of its layer: {way}{sign}")
    named = "" if magnitude[:1].isdigit() and magnitude.replace(".", "").isdigit() else f" ({text})"
    return Finding(CONSTANT, f"{what}{named}{sign}")


def of_term(finding: Finding, way: str) -> Finding:
    if finding.mistake == "zero":
        return Finding("missing term", f"the term that comes {way} is missing")
    return finding._replace(diagnosis=finding.diagnosis.replace("it is", f"the term that comes {way} is", 1))


def times(scene: "Scene", line: str, c: float) -> str:
    """A constant in words, as far as it has any at this line."""
    return constant_text(c, scene.m, widths(scene, line))


def widths(scene: "Scene", line: str) -> tuple[int, ...]:
    """The sizes of a line and of the intermediate that it follows from, m left out."""
    shapes = [
        scene.expected[line].shape,
        *(scene.expected[s].shape for s in scene.graph.successors[line] if s in scene.expected),
    ]
    sizes = dict.fromkeys(n for shape in shapes for n in shape)
    return tuple(n for n in sizes if n not in (1, 2, scene.m))


def constant_text(c: float, m: int, widths: tuple[int, ...] = ()) -> str:
    """A constant by what it is made of: -1, 2, 1/m, 2/m, n_l, ...; else in figures."""
    named = {
        "1": 1.0,
        "m": float(m),
        "1/m": 1 / m,
        "2": 2.0,
        "1/2": 0.5,
        "2/m": 2 / m,
        "m/2": m / 2,
        "2 * m": 2.0 * m,
        "1/(2 * m)": 0.5 / m,
    }
    for n in widths:
        named |= {
            f"{n}": float(n),
            f"1/{n}": 1 / n,
            f"1/({n} * m)": 1 / (n * m),
            f"{n}/m": n / m,
            f"m/{n}": m / n,
            f"{n} * m": n * m,
        }
    for text, value in named.items():
        for sign in (1, -1):
            if abs(c - sign * value) <= 1e-6 * abs(c):
                return text if sign > 0 else "-" + text
    return f"{c:.6g}"
