"""The nodes of a cost's graph: the intermediates that it names by tap(name, value), and those around its products."""

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from manual_bp.checker.graph.arguments import is_float
from manual_bp.checker.graph.jaxpr_walk import walk

TAP_PREFIX = "manual_bp.tap:"
VIEWS = frozenset("broadcast_in_dim convert_element_type copy expand_dims reshape squeeze transpose".split())


def recording_tap(called: list[str]) -> Callable[[str, Any], Any]:
    """Make a tap that marks each value for the trace and appends its name to `called`."""

    def tap(name: str, value: Any) -> Any:
        if not isinstance(name, str):
            raise TypeError(f'tap expects the name first, as in tap("Z1", Z1); got {type(name).__name__}')
        if name in called:
            twice = f'tap("{name}", ...) is called twice in one evaluation of the cost'
            raise ValueError(f"{twice}; give each intermediate its own name")
        called.append(name)
        return checkpoint_name(jnp.asarray(value), TAP_PREFIX + name)

    return tap


def call_with_tap(cost: Callable, arguments: Sequence, tap: Callable) -> Any:
    """Call the cost with tap, by keyword if its signature has that name, or without it if there is no place for it.

    From (cost, aux) it returns the cost, and from an array that holds one number, that number.
    """
    found = _call(cost, arguments, tap)
    return _as_scalar(found[0] if isinstance(found, tuple) and len(found) == 2 else found)


def _as_scalar(value: Any) -> Any:
    return value.reshape(()) if getattr(value, "shape", ()) and value.size == 1 else value


def _call(cost: Callable, arguments: Sequence, tap: Callable) -> Any:
    cost = inspect.unwrap(cost) if hasattr(cost, "lower") else cost  # a jitted cost could not take a function
    try:
        parameters = inspect.signature(cost).parameters
    except (TypeError, ValueError):
        return cost(*arguments)
    if "tap" in parameters and parameters["tap"].kind is not inspect.Parameter.POSITIONAL_ONLY:
        return cost(*arguments, tap=tap)
    required = [p for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in required if p.default is p.empty]
    return cost(*arguments, tap) if len(required) == len(arguments) + 1 else cost(*arguments)


class Node(NamedTuple):
    """An intermediate, and the number of the equation that computes it."""

    name: str
    equation: int
    shape: tuple[int, ...]


class _Origin(NamedTuple):
    """The origin of a value in the jaxpr, carried along its edges."""

    equation: int | None = None  # the equation that computed it, before any view
    root: str | None = None  # the argument that it is a view of
    product: int | None = None  # the product with a parameter that it is a view of
    active: bool = False  # it depends on a parameter


def find_nodes(closed: Any, names: Sequence[str], params: Sequence[str], into: frozenset[str]) -> dict[str, Node]:
    """Find the taps and, around each product with a parameter, an untapped operand A and sum Z = W A + b."""
    taps: dict[int, str] = {}
    tapped: set[int | None] = set()
    products: dict[int, tuple[str, _Origin]] = {}
    sums: dict[int, int] = {}
    shapes: dict[int, tuple[int, ...]] = {}
    single: set[int] = set()

    def visit(n: int, equation: Any, operands: list[_Origin]) -> list[_Origin]:
        kind = equation.primitive.name
        shapes[n] = equation.outvars[0].aval.shape
        if len(equation.outvars) == 1 and is_float(equation.outvars[0].aval):
            single.add(n)
        if kind == "name" and str(equation.params["name"]).startswith(TAP_PREFIX) and n in single:
            taps[n] = equation.params["name"].removeprefix(TAP_PREFIX)
            tapped.add(operands[0].equation)
            return [_Origin(n, None, None, operands[0].active)]
        if kind in VIEWS:
            return [operands[0]]
        active = any(v.active for v in operands)
        if kind == "dot_general" and active:
            weights = [v for v in operands if v.root in params] or [v for v in operands if v.root]
            if weights:
                other = operands[1] if operands[0] is weights[0] else operands[0]
                products[n] = (weights[0].root or "", other)
                return [_Origin(n, None, n, True)]
        if kind in ("add", "add_any"):
            made = [v.product for v in operands if v.product is not None]
            if len(made) == 1 and any(v.root for v in operands):
                sums[made[0]] = n
        return [_Origin(n, None, None, active) for _ in equation.outvars]

    walk(closed, [_Origin(root=n, active=n in params) for n in names], visit, into, lift=lambda _: _Origin())

    found = {n: Node(name, n, shapes[n]) for n, name in taps.items()}
    used = {*taps.values(), *names}

    def add(n: int, name: str) -> None:
        while name in used:
            name += "_"
        used.add(name)
        found[n] = Node(name, n, shapes[n])

    for product, (weight, _) in products.items():
        n = sums.get(product, product)
        if n not in tapped and n in single:
            add(n, sibling_name(weight, "Z"))
    for weight, other in products.values():
        n = other.equation
        if n is not None and other.active and n not in found and n not in tapped and n in single:
            before = max((v for v in found.values() if v.equation < n), key=lambda v: v.equation, default=None)
            add(n, sibling_name(before.name, "A") if before else f"input of {weight}")
    return {node.name: node for node in sorted(found.values(), key=lambda node: node.equation)}


def sibling_name(name: str, letter: str) -> str:
    """Name another quantity of the same layer: Z1 for W1, layers[0].Z for layers[0].W, Z[0] for coefs[0], a1 for z1."""
    *path, last = name.rsplit(".", 1)
    index = "".join(re.findall(r"(?:\d+|\[[^]]*\])*_*$", last))
    stem = last.removesuffix(index)
    return ".".join([*path, (letter.lower() if len(stem) == 1 and stem.islower() else letter) + index])
