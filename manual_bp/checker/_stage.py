"""How a line follows from the one before it: the equation that it should have been, found by its values.

dW = dZ A^T    db = sum of dZ    dA = W^T dZ    dZ = dA * g'(Z)    and at the cost itself  c (A - Y), c (-Y / A), ...
"""

from collections.abc import Iterator
from itertools import combinations, product
from typing import NamedTuple

import numpy as np

from manual_bp.checker._conventions import ratio
from manual_bp.checker._graph import COST
from manual_bp.checker._nodes import renamed
from manual_bp.checker._output import Output, output_stage
from manual_bp.checker._scene import Scene, matrix


class Product(NamedTuple):
    """The matrix product of a line and the value called `name`; either may stand transposed, either may stand first."""

    flip_line: bool
    name: str
    flip: bool
    line_first: bool

    def of(self, line: np.ndarray, value: np.ndarray) -> np.ndarray | None:
        """The same product of another line, or with another value; None where the shapes do not allow it."""
        P, Q = matrix(line), matrix(value)
        P, Q = P.T if self.flip_line else P, Q.T if self.flip else Q
        P, Q = (P, Q) if self.line_first else (Q, P)
        return P @ Q if P.shape[1] == Q.shape[0] else None

    def transposed(self) -> "Product":
        return Product(not self.flip_line, self.name, not self.flip, not self.line_first)


class Sum(NamedTuple):
    axes: tuple[int, ...]


class Elementwise(NamedTuple):
    """D * G; `factor` names G where it is the value of something."""

    G: np.ndarray
    factor: str


class Stage(NamedTuple):
    """The line `line` as it follows from `successor`'s, whose own line is D."""

    line: str
    successor: str
    D: np.ndarray
    expected: np.ndarray
    form: Product | Sum | Elementwise | Output | None


def products(line: np.ndarray, value: np.ndarray, name: str) -> Iterator[tuple[Product, np.ndarray]]:
    """Every product of a line and a value that their shapes allow."""
    for flip_line, flip, line_first in product((False, True), repeat=3):
        form = Product(flip_line, name, flip, line_first)
        array = form.of(line, value)
        if array is not None:
            yield form, array


def stages(scene: Scene, line: str) -> list[Stage]:
    """One for each successor of a node or root, the cost among them."""
    successors = dict.fromkeys(scene.graph.successors[line])
    return [_stage(scene, line, s, alone=len(successors) == 1) for s in successors]


def _stage(scene: Scene, line: str, successor: str, alone: bool) -> Stage:
    if successor == COST:
        expected = scene.through(COST)[line]
        return Stage(line, COST, expected, expected, output_stage(scene, line, expected))
    D = scene.line(successor)
    expected = scene.expected[line] if alone else scene.through(successor)[line]
    for find in (_elementwise, _sum, _product):
        form = find(scene, line, successor, D, expected)
        if form is not None:
            return Stage(line, successor, D, expected, form)
    return Stage(line, successor, D, expected, None)


def _product(scene: Scene, line: str, successor: str, D: np.ndarray, expected: np.ndarray) -> Product | None:
    # a weight's gradient has an activation in it, an activation's a weight
    weights = set(scene.graph.params) - {line}
    first = scene.values.keys() - weights if line in scene.graph.roots else weights
    # the name that the cost gave it with tap before that of the argument
    names = sorted(scene.values.keys() - {line}, key=lambda name: (name not in first, name in scene.graph.roots, name))
    for name in names:
        value = scene.values[name]
        if np.isfinite(value).all():
            # with m = 1 a transposed product has the values too, but not the shape
            for form, array in sorted(products(D, value, name), key=lambda made: made[1].shape != expected.shape):
                if array.size == expected.size and scene.same(array.reshape(expected.shape), expected):
                    return form
    return None


def _sum(scene: Scene, line: str, successor: str, D: np.ndarray, expected: np.ndarray) -> Sum | None:
    for axes in (a for k in range(1, D.ndim + 1) for a in combinations(range(D.ndim), k)):
        total = D.sum(axis=axes)
        if total.size == expected.size and scene.same(total.reshape(expected.shape), expected):
            return Sum(axes)
    return None


def _elementwise(scene: Scene, line: str, successor: str, D: np.ndarray, expected: np.ndarray) -> Elementwise | None:
    if D.shape != expected.shape:
        return None
    G = scene.through(successor, np.ones(D.shape))[line]
    if not scene.same(D * G, expected):
        return None
    named = [n for n, v in scene.values.items() if v.shape == G.shape and scene.same(G, v)]
    return Elementwise(G, next(iter(named), ""))


def written(scene: Scene, line: str) -> str:
    """The equation of a line as its author would write it, in the layout and the scale in which it was returned."""
    parts = [_written(scene, stage) for stage in stages(scene, line)]
    return f"d{line} = {' + '.join(parts)}" if parts and all(parts) else ""


def _written(scene: Scene, stage: Stage) -> str:
    text = _equation(scene, stage)
    if not text or stage.successor == COST or stage.line in scene.graph.nodes or scene.scale == 1:
        return text
    return f"{text} / m" if scene.scale == scene.m else f"{text} / {scene.scale:.4g}"


def _equation(scene: Scene, stage: Stage) -> str:
    D = "d" + stage.successor
    match stage.form:
        case Product() as form:
            if max(stage.D.ndim, scene.values[form.name].ndim) > 2:
                return ""
            if stage.D.ndim == scene.values[form.name].ndim == 1:
                return f"np.outer({', '.join((D, form.name) if form.line_first else (form.name, D))})"
            form = form.transposed() if stage.line in scene.turned else form
            line = D + ".T" * (form.flip_line != (stage.successor in scene.turned) and stage.D.ndim == 2)
            value = form.name + ".T" * (form.flip != _is_turned(scene, form.name) and scene.values[form.name].ndim == 2)
            return f"{line} @ {value}" if form.line_first else f"{value} @ {line}"
        case Sum(axes):
            at = tuple(1 - axis for axis in axes) if stage.successor in scene.turned else axes
            axis = f"axis={at[0] if len(at) == 1 else at}" if len(at) < stage.D.ndim else ""
            keep = "keepdims=True" if stage.expected.ndim == stage.D.ndim and stage.D.ndim else ""
            return f"{D}.sum({', '.join(filter(None, (axis, keep)))})"
        case Elementwise(G, factor):
            g_prime = factor or derivative_text(scene, stage.line, stage.successor, G)
            if g_prime.startswith("g'") and stage.line.rsplit(".", 1)[-1][:1] not in ("Z", "z"):
                return ""  # what stands between is no activation
            D = _in_full(scene, stage.successor)
            return D if g_prime == "1" else f"{D} * {g_prime}"
        case Output() as output:
            return output.text(scene)
    return regulariser_text(scene, stage) if stage.successor == COST else ""


def regulariser_text(scene: Scene, stage: Stage) -> str:
    value = scene.values.get(stage.line)
    c = None if value is None or value.size == 1 else ratio(stage.expected, value)
    return f"{c:.6g} * {stage.line}" if c else ""


def derivative_text(scene: Scene, line: str, successor: str, G: np.ndarray) -> str:
    Z, A = scene.values[line], scene.values[successor]
    known = {
        "1": np.ones_like(Z),
        f"(1 - {successor}**2)": 1 - A**2,
        f"{successor} * (1 - {successor})": A * (1 - A),
        f"({line} > 0)": (Z > 0) * 1.0,
    }
    return next((text for text, array in known.items() if scene.same(array, G)), f"g'({line})")


def _is_turned(scene: Scene, name: str) -> bool:
    """Whether the author of the lines keeps a value transposed: as the lines of its kind."""
    if name in scene.graph.params:
        return any(n in scene.turned for n in scene.graph.params if scene.values[n].ndim == 2)
    return any(n in scene.turned for n in scene.graph.nodes)


def _in_full(scene: Scene, node: str) -> str:
    """dA1 where it was returned; else the equation for it, in brackets, if it is a product: (W2.T @ dZ2)."""
    if node in scene.returned:
        return "d" + node
    found = stages(scene, node)
    text = _equation(scene, found[0]) if len(found) == 1 and isinstance(found[0].form, Product) else ""
    return f"({text})" if text else "d" + node


def activation_of(scene: Scene, line: str) -> str:
    """The name of the activation at a weighted input: the intermediate that it feeds, or A2 for Z2."""
    nodes = [s for s in scene.graph.successors[line] if s in scene.graph.nodes]
    return nodes[0] if nodes else renamed(line, "A")
