"""Backward passes with one equation changed, made from the text of a right one."""

import ast
import inspect
import random
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from reference.checker_proof.search.indices import add_at, set_at
from reference.checker_proof.search.points import Program

REDUCTIONS = {"sum", "mean", "max"}
OTHER_CALLS = {
    "add_at": "set_at",
    "tanh": "sin",
    "sin": "cos",
    "cos": "sin",
    "exp": "cosh",
    "sign": "abs",
    "abs": "sign",
}
NO_ARRAYS = {"np", "range", "reversed", "add_at", "set_at", "t", "T"}
OTHER_OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
OTHER_COMPARISONS = {ast.Gt: ast.Lt, ast.Lt: ast.Gt, ast.LtE: ast.Gt, ast.GtE: ast.Lt, ast.Eq: ast.NotEq}


class Mutant(NamedTuple):
    """A program with its backward pass changed: the kind of change, and the line of code before and after it."""

    program: Program
    kind: str
    before: str
    after: str
    text: str

    def __str__(self) -> str:
        return f"{self.program.name}, {self.kind}: `{self.before}` became `{self.after}`"


def compiled(text: str, xp: Any) -> Callable:
    """Return the function that a text defines, with `np` standing for NumPy or jax.numpy."""
    names: dict[str, Any] = {"np": xp, "add_at": add_at, "set_at": set_at}
    exec(text, names)
    return next(f for name, f in names.items() if name.endswith("_backward"))


def text_of(program: Program) -> str:
    return ast.unparse(ast.parse(inspect.getsource(program.backward)))


def mutants(program: Program, rng: random.Random) -> Iterator[Mutant]:
    """Make the mutants of a program that its text allows, in a random order, each text once."""
    right = text_of(program)
    tree, seen = ast.parse(right), {right}
    names = sorted({n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} | {*program.arguments, "dout"})
    # a list may be appended to itself
    lists = {n.value.id for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)}
    names = [n for n in names if n not in NO_ARRAYS | lists - program.arguments.keys()]
    changes = [(place, *change) for place, node in enumerate(ast.walk(tree)) for change in _changes(node, names)]
    rng.shuffle(changes)
    for place, kind, other in changes:
        text = _with_change(right, place, other)
        if text not in seen:
            seen.add(text)
            lines = zip(right.splitlines(), text.splitlines(), strict=True)
            before, after = next((a.strip(), b.strip()) for a, b in lines if a != b)
            yield Mutant(program, kind, before, after, text)


def _with_change(text: str, place: int, other: ast.AST) -> str:
    """Replace the node that `ast.walk` reaches at a place."""
    tree = ast.parse(text)
    target = next(islice(ast.walk(tree), place, None))
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            if value is target:
                setattr(parent, field, other)
            elif isinstance(value, list):
                value[:] = [other if item is target else item for item in value]
    return ast.unparse(ast.fix_missing_locations(tree))


def _changes(node: ast.AST, names: list[str]) -> Iterator[tuple[str, ast.AST]]:
    """List what an expression can be mistaken for."""
    match node:
        case ast.BinOp(left, operator, right):
            sum_or_product = "term" if isinstance(operator, ast.Add | ast.Sub) else "factor"
            negative = ast.UnaryOp(ast.USub(), right) if isinstance(operator, ast.Sub) else right
            yield f"{sum_or_product} dropped", left
            yield f"{sum_or_product} dropped", negative
            if type(operator) in OTHER_OPERATORS:
                yield "another operator", ast.BinOp(left, OTHER_OPERATORS[type(operator)](), right)
            if isinstance(operator, ast.MatMult):
                yield "operands swapped", ast.BinOp(right, operator, left)
                yield "element-wise for matrix product", ast.BinOp(left, ast.Mult(), right)
            yield from ((f"times {c:g}", _times(node, c)) for c in (2, 0.5, -1))
        case ast.UnaryOp(ast.USub() | ast.Invert(), operand):
            yield "sign dropped", operand
        case ast.Attribute(value, "T"):
            yield "transpose dropped", value
        case ast.Name(name, ast.Load()) if name in names:
            yield from (("another name", ast.Name(other, ast.Load())) for other in names if other != name)
        case ast.Constant(value) if isinstance(value, int | float) and not isinstance(value, bool):
            others = {value + 1, value - 1} if isinstance(value, int) else {2 * value, value / 2}
            yield from (("another constant", ast.Constant(other)) for other in sorted(others))
        case ast.Constant(str(text)) if "->" in text:
            operands, output = text.split("->")
            yield from (("another axis", ast.Constant(f"{s}->{output}")) for s in _with_swaps(operands))
        case ast.Compare(left, [operator], right) if type(operator) in OTHER_COMPARISONS:
            yield "another comparison", ast.Compare(left, [OTHER_COMPARISONS[type(operator)]()], right)
        case ast.Call(ast.Attribute(ast.Name("np"), name) as function, arguments, keywords):
            if name in REDUCTIONS:
                for other in sorted(REDUCTIONS - {name}):
                    yield "another reduction", ast.Call(_attribute(other), arguments, keywords)
            if name in OTHER_CALLS:
                yield "another function", ast.Call(_attribute(OTHER_CALLS[name]), arguments, keywords)
            if name == "where":
                yield "branches swapped", ast.Call(function, [arguments[0], arguments[2], arguments[1]], [])
                yield "mask dropped", arguments[1]
            elif name in REDUCTIONS | OTHER_CALLS.keys() | {"sqrt", "log", "maximum"}:
                yield "function dropped", arguments[0]
        case ast.Call(ast.Name("add_at"), arguments):
            yield "set for add", ast.Call(ast.Name("set_at", ast.Load()), arguments, [])
        case ast.Call(ast.Name("range"), [n]):
            yield "one step fewer", ast.Call(node.func, [ast.BinOp(n, ast.Sub(), ast.Constant(1))], [])
        case ast.Subscript(value, ast.Slice()):
            yield "flip dropped", value
        case ast.Subscript(value, ast.Name() as index, ast.Load()):
            yield "index shifted", ast.Subscript(value, ast.BinOp(index, ast.Sub(), ast.Constant(1)), ast.Load())
        case ast.Assign([ast.Name()] as target, value) if not isinstance(value, ast.List):
            yield from ((f"line times {c:g}", ast.Assign(target, _times(value, c))) for c in (2, 0.5, -1, 0))


def _times(node: ast.expr, c: float) -> ast.expr:
    return ast.BinOp(ast.Constant(c), ast.Mult(), node)


def _attribute(name: str) -> ast.expr:
    return ast.Attribute(ast.Name("np", ast.Load()), name, ast.Load())


def _with_swaps(operands: str) -> Iterator[str]:
    """Swap two neighbouring letters in one operand."""
    for i in range(len(operands) - 1):
        a, b = operands[i : i + 2]
        if a.isalpha() and b.isalpha():
            yield operands[:i] + b + a + operands[i + 2 :]


def lines_of(text: str, program: Program, point: dict[str, Any], dout: Any) -> dict[str, Any] | None:
    """Return the lines of a pass in NumPy, or None if it raises an error or returns other than its lines."""
    copies = {name: np.array(a) for name, a in point.items()}
    try:
        with np.errstate(all="ignore"):
            found = compiled(text, np)(np.array(dout), **copies)
        lines = dict(zip(program.floats(), (np.asarray(line, float) for line in found), strict=True))
    except Exception:
        return None
    return lines
