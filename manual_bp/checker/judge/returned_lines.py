"""The lines that a backward pass returned, by name."""

import difflib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer

from manual_bp.checker.graph.arguments import is_float, path_suffix
from manual_bp.checker.judge.raised_error import lines_before_error


class ReturnedLines(NamedTuple):
    """The lines by the name of their node or root, and a sentence for each line that could not be read.

    `raised` is the sentence about an error in backward. `like_params` is true for a pytree like params.
    """

    found: dict[str, np.ndarray]
    faults: dict[str, str]
    raised: str = ""
    like_params: bool = False


def call_backward(backward: Callable, arguments: tuple, known: list[str]) -> ReturnedLines:
    """Call backward(params, *args) and read its lines; if it raises, read those computed before the error."""
    try:
        raw = backward(*arguments)
    except Exception as error:
        found, line, sentence = lines_before_error(error, known)
        return ReturnedLines(as_arrays(found), {line or "backward": sentence}, sentence)
    return read_lines(raw, arguments[0], known)


def read_lines(raw: Any, params: Any, known: list[str]) -> ReturnedLines:
    """Read a pytree like params, or a dict of lines such as "dW1", or "dlayers" with the subtree for layers."""
    # the parameters come first among the known, in the order of the leaves of params
    of_params = known[: len(jax.tree.leaves(params))]
    leaves = jax.tree.leaves(raw, is_leaf=lambda leaf: leaf is None)
    if len(leaves) == len(of_params) and jax.tree.structure(_skeleton(raw)) == jax.tree.structure(_skeleton(params)):
        return _read_arrays(zip(of_params, leaves, strict=True))._replace(like_params=True)
    is_cost = isinstance(raw, tuple) and len(raw) == 2 and jax.tree.structure(raw[0]) == jax.tree.structure(0)
    if is_cost and np.size(raw[0]) == 1:
        return read_lines(raw[1], params, known)  # (cost, gradient)
    if not isinstance(raw, dict):
        raise TypeError(
            "backward must return a dict of lines, {'dW1': ..., 'dZ1': ...}, or a pytree like params, "
            f"{jax.tree.structure(params)}; it returned {jax.tree.structure(raw)}"
        )
    if isinstance(params, dict) and raw and raw.keys() < params.keys():
        missing = ", ".join(str(key) for key in params if key not in raw)
        advice = "return all of it, or a dict of lines named 'd...'"
        raise TypeError(f"backward returned a pytree like params, but without {missing}; {advice}")
    lines: list[tuple[str, Any]] = []
    unknown = {}
    for key, value in raw.items():
        name = str(key).removeprefix("d")
        inside = [(name, value)] if name in known else _read_subtree(name, value, known, of_params)
        if str(key).startswith("d") and inside:
            lines += inside
        else:
            unknown[str(key)] = _unknown_name(str(key), known)
    returned = _read_arrays(lines)
    return returned._replace(faults=returned.faults | unknown)


def _read_subtree(name: str, value: Any, known: list[str], of_params: list[str]) -> list[tuple[str, Any]]:
    """Read the lines in a nested value by their paths, or in the order of params if tuples replace named tuples."""
    paths = jax.tree_util.tree_flatten_with_path(value, is_leaf=lambda leaf: leaf is None)[0]
    by_path = [(name + path_suffix(path), leaf) for path, leaf in paths]
    if all(part in known for part, _ in by_path):
        return by_path
    parts = [part for part in of_params if part.startswith((f"{name}[", f"{name}."))]
    return list(zip(parts, (leaf for _, leaf in paths), strict=True)) if len(parts) == len(paths) else []


def _skeleton(tree: Any) -> Any:
    """Replace named tuples and lists by tuples, and every leaf and None by 0."""
    if isinstance(tree, dict):
        return {key: _skeleton(value) for key, value in tree.items()}
    return tuple(map(_skeleton, tree)) if isinstance(tree, tuple | list) else 0


def _read_arrays(lines: Iterable[tuple[str, Any]]) -> ReturnedLines:
    found, faults = {}, {}
    for name, value in lines:
        try:
            found |= as_arrays({name: value})
        except (TypeError, ValueError):
            kind = type(value).__name__ + (f" of {value.dtype}" if hasattr(value, "dtype") else "")
            faults["d" + name] = f"expected an array of real numbers; got {kind}"
    return ReturnedLines(found, faults)


def as_arrays(lines: dict[str, Any]) -> dict[str, Any]:
    """Convert lines to floating-point NumPy arrays, except for tracers."""
    arrays = {n: value if isinstance(value, Tracer) else np.asarray(value) for n, value in lines.items()}
    if any(a.dtype.kind in "cOSU" for a in arrays.values() if isinstance(a, np.ndarray)):
        raise TypeError
    return {n: a if is_float(a) else a.astype(np.float64) for n, a in arrays.items()}


def _unknown_name(line: str, known: list[str]) -> str:
    if line in known:
        return f"a line is named after what it is the derivative by; did you mean d{line}?"
    names = ["d" + name for name in known]
    close = [name for name in names if name.lower() == line.lower()] or difflib.get_close_matches(line, names, 1, 0.5)
    question = f"; did you mean {close[0]}?" if close else "."
    return f"no tap, parameter or argument has this name{question} The lines are: {', '.join(names)}"
