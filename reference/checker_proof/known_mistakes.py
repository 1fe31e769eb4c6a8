"""The keys of the mistakes that the checker can name, read from its source."""

import ast
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import manual_bp.checker

# where each call that makes a diagnosis has its key
PLACES = {"Finding": 0, "Candidate": 0, "Line": 4}


def known_mistakes() -> set[str]:
    """Return every string that the checker gives for the key of a mistake."""
    files = sorted(Path(manual_bp.checker.__file__).parent.rglob("*.py"))
    return keys_in(path.read_text(encoding="utf-8") for path in files)


def keys_in(sources: Iterable[str]) -> set[str]:
    """Return the keys in these modules: strings, or names and functions that stand for some."""
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    meanings = _meanings(nodes)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            given = [k.value for k in node.keywords if k.arg == "mistake"]
            given += _argument(node, PLACES[called]) if called in PLACES else []
            for key in given:
                found |= _strings(key, 0, meanings, set())
    return found - {""}


def _argument(call: ast.Call, place: int) -> list[ast.expr]:
    """Return the argument at a place, if there is one; a starred one before it stands for the two errors of a line."""
    at = 0
    for argument in call.args:
        if at == place:
            return [argument]
        at += 2 if isinstance(argument, ast.Starred) else 1
    return []


def _meanings(nodes: list[ast.AST]) -> dict[str, list[tuple[ast.expr, int]]]:
    """Return the expressions that each name is given, or that each function returns, with the place in a tuple."""
    meanings = defaultdict(list)
    for node in nodes:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                for place, name in enumerate(names):
                    if isinstance(name, ast.Name):
                        meanings[name.id].append((node.value, place))
        elif isinstance(node, ast.FunctionDef):
            returned = [n.value for n in ast.walk(node) if isinstance(n, ast.Return) and n.value]
            meanings[node.name] += [(value, 0) for value in returned]
    return meanings


def _strings(node: ast.expr, place: int, meanings: dict, seen: set[str]) -> set[str]:
    """Return the strings that an expression can be, of a tuple those at one place."""
    match node:
        case ast.Constant(value=str(text)):
            return {text}
        case ast.IfExp(body=one, orelse=other):
            return _strings(one, place, meanings, seen) | _strings(other, place, meanings, seen)
        case ast.Tuple(elts=elements):
            return _strings(elements[place], 0, meanings, seen) if place < len(elements) else set()
        case ast.Starred(value=inner) | ast.Call(func=inner):
            return _strings(inner, place, meanings, seen)
        case ast.Name(id=name) if name not in seen:
            return set().union(*(_strings(value, at, meanings, seen | {name}) for value, at in meanings.get(name, ())))
    return set()
