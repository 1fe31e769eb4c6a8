"""What a backward pass returned, read line by line."""

import difflib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer

from manual_bp.checker._inputs import is_float, suffix
from manual_bp.checker._raised import harvest


class Returned(NamedTuple):
    """Lines by the node's or root's name; sentences on those that could not be read, by the line's name."""

    found: dict[str, np.ndarray]
    faults: dict[str, str]
    raised: str = ""
    like_params: bool = False


def call(backward: Callable, values: tuple, known: list[str]) -> Returned:
    """backward(params, *args), read as lines. If it raises, the lines that were local variables by then."""
    if not callable(backward):
        raise TypeError(f"backward must be a function of (params, *args); got {type(backward).__name__}")
    try:
        raw = backward(*values)
    except Exception as error:
        found, line, sentence = harvest(error, known)
        return Returned(as_arrays(found), {line or "backward": sentence}, sentence)
    return read(raw, values[0], known)


def read(raw: Any, params: Any, known: list[str]) -> Returned:
    """A dict of lines ("dW1", or "dlayers" holding the subtree of layers), or a pytree like params."""
    # the parameters come first among the known, in the order of the leaves of params
    of_params = known[: len(jax.tree.leaves(params))]
    leaves = jax.tree.leaves(raw, is_leaf=_is_none)
    if len(leaves) == len(of_params) and jax.tree.structure(_plain(raw)) == jax.tree.structure(_plain(params)):
        return _keep(zip(of_params, leaves, strict=True))._replace(like_params=True)
    if not isinstance(raw, dict):
        raise TypeError(
            "backward must return a dict of lines, {'dW1': ..., 'dZ1': ...}, or a pytree like params, "
            f"{jax.tree.structure(params)}; it returned {jax.tree.structure(raw)}"
        )
    if isinstance(params, dict) and raw and raw.keys() < params.keys():
        missing = ", ".join(str(key) for key in params if key not in raw)
        raise TypeError(
            f"backward returned a pytree like params, but without {missing}; return it, or lines named d..."
        )
    lines: list[tuple[str, Any]] = []
    unknown = {}
    for key, value in raw.items():
        name = str(key).removeprefix("d")
        inside = _subtree(name, value, known, of_params)
        if str(key).startswith("d") and name in known:
            lines.append((name, value))
        elif str(key).startswith("d") and inside:
            lines += inside
        else:
            unknown[str(key)] = _unknown(str(key), known)
    kept = _keep(lines)
    return kept._replace(faults=kept.faults | unknown)


def _subtree(name: str, value: Any, known: list[str], of_params: list[str]) -> list[tuple[str, Any]]:
    """The lines in a nested value: by their paths, or, tuples standing for named tuples, in the order of params."""
    paths = jax.tree_util.tree_flatten_with_path(value, is_leaf=_is_none)[0]
    by_path = [(name + suffix(path), leaf) for path, leaf in paths]
    if all(part in known for part, _ in by_path):
        return by_path
    parts = [part for part in of_params if part.startswith((f"{name}[", f"{name}."))]
    return list(zip(parts, (leaf for _, leaf in paths), strict=True)) if len(parts) == len(paths) else []


def _plain(tree: Any) -> Any:
    """Named tuples and lists as tuples, every leaf and None as one value: the shape of a tree alone."""
    if isinstance(tree, dict):
        return {key: _plain(value) for key, value in tree.items()}
    return tuple(map(_plain, tree)) if isinstance(tree, tuple | list) else 0


def _is_none(value: Any) -> bool:
    return value is None


def _keep(lines: Iterable[tuple[str, Any]]) -> Returned:
    found, faults = {}, {}
    for name, value in lines:
        try:
            found |= as_arrays({name: value})
        except (TypeError, ValueError):
            faults["d" + name] = f"expected an array of real numbers; got {_kind(value)}"
    return Returned(found, faults)


def as_arrays(lines: dict[str, Any]) -> dict[str, Any]:
    """NumPy arrays of floating point; tracers as they are."""
    arrays = {n: value if isinstance(value, Tracer) else np.asarray(value) for n, value in lines.items()}
    if any(a.dtype.kind in "cOSU" for a in arrays.values() if isinstance(a, np.ndarray)):
        raise TypeError
    return {n: a if is_float(a) else a.astype(np.float64) for n, a in arrays.items()}


def _kind(value: Any) -> str:
    return f"{type(value).__name__} of {value.dtype}" if hasattr(value, "dtype") else str(type(value).__name__)


def _unknown(line: str, known: list[str]) -> str:
    if line in known:
        return f"no line has this name: {line} is a parameter or an intermediate, and its line is d{line}"
    close = [f"d{name}" for name in known if f"d{name}".lower() == line.lower()]
    close = close or difflib.get_close_matches(line, ["d" + name for name in known], 1, 0.5)
    names = ", ".join("d" + name for name in known)
    return f"no tap or parameter has this name{f'; did you mean {close[0]}?' if close else '.'} The lines are: {names}"
