"""The lines of a backward pass that raised an error, read from the variables of its frames."""

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

# What JAX raises where NumPy, Python's float() or an if meets a traced array
UNTRACEABLE = (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError)
IN_NUMPY = "it computes in NumPy. Write jnp for np in it to have more lines judged and more mistakes named"
IN_PYTHON = (
    "it makes a Python number of an array, or decides by one, as float() and if do. Write jnp.where or jax.lax.cond to "
    "have more lines judged and more mistakes named"
)
NOT_DIFFERENTIABLE = ("Reverse-mode differentiation", "do not support JVP")  # of a while_loop and of a callback
LIBRARIES = ("site-packages", "importlib", str(Path(__file__).parents[1]))


def why_untraceable(error: Exception) -> str:
    return IN_NUMPY if isinstance(error, jax.errors.TracerArrayConversionError) else IN_PYTHON


def lines_before_error(
    error: Exception, known: list[str], raised_by: str = "backward"
) -> tuple[dict[str, Any], str, str]:
    """Return the lines computed before the error, the line being computed or "", and a sentence about the error."""
    lines: dict[str, Any] = {}
    line, where, shapes = "", "", []
    for frame, number in _user_frames(error):
        variables = dict(frame.f_locals)
        for table in _variable_tables(variables):
            lines |= {name: table["d" + name] for name in known if _is_array(table.get("d" + name))}
        node = _statement(frame, number)
        targets = [t for t in _assigned_names(node, variables) if t[0] == "d" and t[1:] in known]
        # the outermost statement that assigns a line, else the innermost statement
        if not line:
            line = next(iter(targets), "")
            text = ast.unparse(node) if node else ""
            where = f"{f'`{text}`, ' if text else ''}line {number}"
            names = dict.fromkeys(re.findall(r"\w+", text.partition(" = ")[2] or text))
            shapes = [f"{name} {tuple(variables[name].shape)}" for name in names if _is_array(variables.get(name))]
    lines.pop(line[1:], None)
    sentence = f"{raised_by} raised {type(error).__name__}{f' at {where}' if where else ''}: {error}"
    return lines, line, sentence + (f" (shapes: {', '.join(shapes)})" if shapes else "")


def _user_frames(error: Exception) -> list[tuple[FrameType, int]]:
    """Return the frames of the user's own code with their line numbers, the outermost first."""
    trace, found = error.__traceback__ and error.__traceback__.tb_next, []  # the first is the checker's call
    while trace is not None:
        if not any(part in trace.tb_frame.f_code.co_filename for part in LIBRARIES):
            found.append((trace.tb_frame, trace.tb_lineno))
        trace = trace.tb_next
    return found


def _variable_tables(variables: dict) -> list[dict]:
    """Return the variables by name, the dicts among them, and the entries of a dict or list dZ as dZ[2]."""
    tables = [variables, *(v for v in variables.values() if isinstance(v, dict))]
    for name, value in variables.items():
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        tables.append({f"{name}[{key}]": item for key, item in items})
    return tables


def _statement(frame: FrameType, number: int) -> ast.stmt | None:
    """Return the statement that contains a line number, if the source is available."""
    try:
        lines, first = inspect.getsourcelines(frame.f_code)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, SyntaxError, TypeError):
        return None
    at = number - max(first, 1) + 1
    statements = [n for n in ast.walk(tree) if isinstance(n, ast.stmt) and n.lineno <= at <= (n.end_lineno or n.lineno)]
    return min(statements, key=lambda n: (n.end_lineno or n.lineno) - n.lineno, default=None)


def _assigned_names(node: ast.stmt | None, variables: dict) -> list[str]:
    """Return the names that a statement assigns: dW1; dW[2] for dW[l] if l is 2; dW2 for grads[f"dW{l}"]."""
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
