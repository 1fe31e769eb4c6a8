"""The places of a graph at which the derivative that flows back can be scaled: each use of a value by an equation.

Loops (scan) are entered too. A place inside one stands for all its iterations.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from manual_bp.checker.graph.arguments import is_float
from manual_bp.checker.graph.cost_graph import CostGraph
from manual_bp.checker.graph.jaxpr_walk import (
    CALLS,
    CUSTOM_JVP,
    CUSTOM_VJP,
    ScanBody,
    apply_equation,
    apply_scan,
    primitives_inside,
    scan_body,
    walk,
)
from manual_bp.checker.graph.nodes import TAP_PREFIX, VIEWS

# Each equation has a number at each level that it is inside of; a place adds the operand, or -1 for the output
Key = tuple[int, ...]
OUTPUT = -1


class Place(NamedTuple):
    """An operand of an equation, or its output, and the origin of its value: a root or an equation."""

    key: Key
    calls: tuple[Any, ...]  # the equation, after the calls and loops that it is inside of
    root: str
    origin: tuple[Any, ...]
    shape: tuple[int, ...]
    alone: bool = True  # nothing else in the equation depends on a root

    @property
    def is_output(self) -> bool:
        return self.key[-1] == OUTPUT

    @property
    def size(self) -> int:
        """Count the numbers in the value, over all iterations."""
        return math.prod(self.shape) * math.prod(call.params.get("length", 1) for call in self.calls[:-1])

    @property
    def in_loop(self) -> bool:
        return any(call.primitive.name == "scan" for call in self.calls[:-1])


class _Origin(NamedTuple):
    active: bool = False
    root: str = ""
    calls: tuple[Any, ...] = ()


def find_places(graph: CostGraph) -> list[Place]:
    """List the places through which a derivative reaches a root, in the order of the equations."""
    places: list[Place] = []
    inputs = [_Origin(n in graph.roots, n if n in graph.roots else "") for n in graph.inputs]
    _find_inside(places, (), (), graph.jaxpr, inputs, graph.into)
    return places


def _find_inside(
    places: list[Place], key: Key, calls: tuple, closed: Any, inputs: Sequence[_Origin], into: frozenset[str]
) -> list[_Origin]:
    around = list(calls_in_order(closed, into))

    def visit(n: int, equation: Any, operands: list[_Origin]) -> list[_Origin]:
        kind, here, within = equation.primitive.name, (*key, n), (*calls, *around[n])
        active = [j for j, o in enumerate(operands) if o.active and is_float(equation.invars[j].aval)]
        if kind == "stop_gradient" or not active:
            return [_Origin() for _ in equation.outvars]
        if kind in VIEWS:
            return [operands[0]]
        if kind == "name":
            return [operands[0]._replace(root=str(equation.params["name"]).removeprefix(TAP_PREFIX))]
        for j in active:
            o = operands[j]
            places.append(Place((*here, j), within, o.root, o.calls, equation.invars[j].aval.shape, len(active) == 1))
        body = _body(equation)
        if body:
            k, carried = body.constants, _Origin(True, "the carried value")
            inner = [*operands[:k], *[carried] * body.carried, *operands[k + body.carried :]]
            _find_inside(places, here, within, body.closed, inner, CALLS | CUSTOM_VJP)
        if len(active) > 1 and is_float(equation.outvars[0].aval) and len(equation.outvars) == 1:
            places.append(Place((*here, OUTPUT), within, "", within, equation.outvars[0].aval.shape))
        return [_Origin(is_float(v.aval), "", within) for v in equation.outvars]

    return walk(closed, inputs, visit, into, lift=lambda _: _Origin())


def calls_in_order(closed: Any, into: frozenset[str], calls: tuple = ()) -> Iterator[tuple[Any, ...]]:
    """List the equations in the order of `walk`, each after the calls that it is inside of."""
    for equation in getattr(closed, "jaxpr", closed).eqns:
        if equation.primitive.name in into:
            called = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
            yield from calls_in_order(called, into, (*calls, equation))
        else:
            yield (*calls, equation)


def apply_scaled(scale: Callable[[Key, Any], Any], key: Key, n: int, equation: Any, operands: Sequence) -> Sequence:
    """Compute an equation with scale(key, value) around each of its operands and its output."""
    here = (*key, n)
    if equation.primitive.name in VIEWS:
        return apply_equation(equation, operands)
    operands = [scale((*here, j), value) for j, value in enumerate(operands)]
    body = _body(equation)

    def inside(inputs: Sequence) -> list:
        def visit(n: int, equation: Any, operands: list) -> Sequence:
            return apply_scaled(scale, here, n, equation, operands)

        return walk(body.closed, inputs, visit, CALLS | CUSTOM_VJP) if body else []

    if body is None:
        outputs = apply_equation(equation, operands)
    elif equation.primitive.name != "scan":
        outputs = inside(operands)
    else:
        outputs = apply_scan(equation, body, operands, inside)
    return [scale((*here, OUTPUT), value) for value in outputs] if len(outputs) == 1 else outputs


def _body(equation: Any) -> ScanBody | None:
    """Return the function inside a scan, or inside a custom_jvp that sums, such as softmax."""
    called = equation.params.get("call_jaxpr")
    sums = any(name.startswith("reduce") for name in primitives_inside(called)) if called else False
    return ScanBody(called, 0, 0) if equation.primitive.name in CUSTOM_JVP and sums else scan_body(equation)
