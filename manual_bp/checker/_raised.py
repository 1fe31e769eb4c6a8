"""A backward pass that raised: at which line, of what shapes, and the lines that it had by then."""

import ast
import inspect
import re
import textwrap
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

LIBRARIES = ("site-packages", "importlib", str(Path(__file__).parent / "_"))


def harvest(error: Exception, known: list[str]) -> tuple[dict[str, Any], str, str]:
    """The arrays that stood under the names of lines, the line at which it raised or "", and a sentence."""
    frames = _frames(error)
    lines: dict[str, Any] = {}
    line, where, shapes = "", "", []
    for frame, number in frames:
        variables = dict(frame.f_locals)
        for table in _tables(variables):
            lines |= {name: table["d" + name] for name in known if _is_array(table.get("d" + name))}
        node = _statement(frame, number)
        targets = [t for t in _targets(node, variables) if t[0] == "d" and t[1:] in known]
        # the outermost statement that writes a line, else the innermost of all
        if not line:
            line = next(iter(targets), "")
            text = ast.unparse(node) if node else ""
            where = f"{f'`{text}`, ' if text else ''}line {number}"
            names = dict.fromkeys(re.findall(r"\w+", text.partition(" = ")[2] or text))
            shapes = [f"{name} {tuple(variables[name].shape)}" for name in names if _is_array(variables.get(name))]
    lines.pop(line[1:], None)
    sentence = f"backward raised {type(error).__name__}{f' at {where}' if where else ''}: {error}"
    return lines, line, sentence + (f" (shapes: {', '.join(shapes)})" if shapes else "")


def _frames(error: Exception) -> list[tuple[FrameType, int]]:
    """The frames of the user's own code, outermost first; the first of all is the checker's call."""
    trace, found = error.__traceback__ and error.__traceback__.tb_next, []
    while trace is not None:
        if not any(part in trace.tb_frame.f_code.co_filename for part in LIBRARIES):
            found.append((trace.tb_frame, trace.tb_lineno))
        trace = trace.tb_next
    return found


def _tables(variables: dict) -> list[dict]:
    """The variables by name; what dicts of them hold; dZ[2] for the entry 2 of a dict or list dZ."""
    tables = [variables, *(v for v in variables.values() if isinstance(v, dict))]
    for name, value in variables.items():
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        tables.append({f"{name}[{key}]": item for key, item in items})
    return tables


def _statement(frame: FrameType, number: int) -> ast.stmt | None:
    """The statement that a line number lies in, where the source can be had."""
    try:
        lines, first = inspect.getsourcelines(frame.f_code)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, SyntaxError, TypeError):
        return None
    at = number - max(first, 1) + 1
    statements = [n for n in ast.walk(tree) if isinstance(n, ast.stmt) and n.lineno <= at <= (n.end_lineno or n.lineno)]
    return min(statements, key=lambda n: (n.end_lineno or n.lineno) - n.lineno, default=None)


def _targets(node: ast.stmt | None, variables: dict) -> list[str]:
    """What it assigns to: dW1; dW[2] for dW[l], l being 2; dW2 for grads[f"dW{l}"]."""
    names = []
    for target in node.targets if isinstance(node, ast.Assign) else ():
        if isinstance(target, ast.Name):
            names.append(target.id)
        elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
            try:
                # the index is the user's own expression, of the user's own variables
                key = eval(ast.unparse(target.slice), {"__builtins__": {"str": str}}, variables)
            except Exception:
                continue
            names.append(key if isinstance(key, str) else f"{target.value.id}[{key}]")
    return names


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | jax.Array) and not isinstance(value, Tracer)
