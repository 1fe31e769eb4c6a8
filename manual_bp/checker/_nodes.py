"""Which intermediates of a cost are nodes of its graph: those it names, and those around products with a parameter."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from manual_bp.checker._inputs import is_float
from manual_bp.checker._walk import walk

TAP = "manual_bp.tap:"
VIEWS = frozenset(
    {"broadcast_in_dim", "convert_element_type", "copy", "expand_dims", "reshape", "squeeze", "transpose"}
)


class Node(NamedTuple):
    """An intermediate, and the equation whose output it is."""

    name: str
    equation: int
    shape: tuple[int, ...]


class _Trail(NamedTuple):
    """What is carried along the edges to find the nodes."""

    equation: int | None = None  # the equation that made it, before any view
    root: str | None = None  # the input that it is a view of
    product: int | None = None  # the product with a parameter that it is a view of
    active: bool = False  # a parameter is in it


def find_nodes(closed: Any, names: Sequence[str], params: Sequence[str], into: frozenset[str]) -> dict[str, Node]:
    """Taps; and around each product with a parameter, the operand A and the sum Z = W A + b, where no tap is."""
    taps: dict[int, str] = {}
    tapped: set[int | None] = set()
    products: dict[int, tuple[str, _Trail]] = {}
    sums: dict[int, int] = {}
    shapes: dict[int, tuple[int, ...]] = {}
    single: set[int] = set()

    def step(n: int, equation: Any, values: list[_Trail]) -> list[_Trail]:
        kind = equation.primitive.name
        shapes[n] = equation.outvars[0].aval.shape
        if len(equation.outvars) == 1 and is_float(equation.outvars[0].aval):
            single.add(n)
        if kind == "name" and str(equation.params["name"]).startswith(TAP) and n in single:
            taps[n] = equation.params["name"].removeprefix(TAP)
            tapped.add(values[0].equation)
            return [_Trail(n, None, None, values[0].active)]
        if kind in VIEWS:
            return [values[0]]
        active = any(v.active for v in values)
        if kind == "dot_general" and active:
            weights = [v for v in values if v.root in params] or [v for v in values if v.root]
            if weights:
                other = values[1] if values[0] is weights[0] else values[0]
                products[n] = (weights[0].root or "", other)
                return [_Trail(n, None, n, True)]
        if kind in ("add", "add_any"):
            made = [v.product for v in values if v.product is not None]
            if len(made) == 1 and any(v.root for v in values):
                sums[made[0]] = n
        return [_Trail(n, None, None, active) for _ in equation.outvars]

    inputs = [_Trail(root=n, active=n in params) for n in names]
    walk(closed, inputs, step, into, lift=lambda _: _Trail())

    found = {n: Node(name, n, shapes[n]) for n, name in taps.items()}
    taken = set(taps.values())

    def add(n: int, name: str) -> None:
        while name in taken:
            name += "_"
        taken.add(name)
        found[n] = Node(name, n, shapes[n])

    for product, (weight, _) in products.items():
        n = sums.get(product, product)
        if n not in tapped and n in single:
            add(n, renamed(weight, "Z"))
    for weight, other in products.values():
        n = other.equation
        if n is not None and other.active and n not in found and n not in tapped and n in single:
            before = [node for node in found.values() if node.equation < n]
            add(n, renamed(max(before, key=lambda node: node.equation).name, "A") if before else f"input of {weight}")
    return {node.name: node for node in sorted(found.values(), key=lambda node: node.equation)}


def renamed(name: str, letter: str) -> str:
    """The name of a layer's other quantity: Z1 for W1, layers[0].Z for layers[0].W, Z[0] for coefs[0], a1 for z1."""
    *path, last = name.rsplit(".", 1)
    index = "".join(re.findall(r"(?:\d+|\[[^]]*\])*_*$", last))
    stem = last.removesuffix(index)
    return ".".join([*path, (letter.lower() if len(stem) == 1 and stem.islower() else letter) + index])
