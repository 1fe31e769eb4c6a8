"""The lines that a backward pass returned, by name."""

import math
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer

from manual_bp.checker.graph.arguments import ARRAYS, is_float, path_suffix
from manual_bp.checker.judge.line_names import unknown_name
from manual_bp.checker.judge.raised_error import lines_before_error

OWN_ORDER = "the flat vector is in the order of the keys of params, which is not that of ravel_pytree"
NUMBERS = (*ARRAYS, float, int)  # the leaves of params that have a line


class ReturnedLines(NamedTuple):
    """The lines by the name of their node or root, and a sentence for each line that could not be read.

    The lines are copies, because a pass may compute the next ones in the same arrays; `memory` has the addresses of
    these. `raised` is the sentence about an error in backward. `like_params` is true for a pytree like params.
    `in_own_order` holds the lines of a flat vector as they are if it is in the order of the keys of params.
    """

    found: dict[str, np.ndarray]
    faults: dict[str, str]
    raised: str = ""
    like_params: bool = False
    in_own_order: dict[str, np.ndarray] | None = None
    memory: Mapping[str, int] = MappingProxyType({})


def call_backward(backward: Callable, arguments: tuple, known: list[str]) -> ReturnedLines:
    """Call backward(params, *args) and read its lines; if it raises, read those computed before the error."""
    try:
        raw = backward(*arguments)
    except Exception as error:
        found, line, sentence = lines_before_error(error, known)
        return ReturnedLines(as_arrays(found), {line or "backward": sentence}, sentence, memory=_addresses(found))
    return read_lines(raw, arguments[0], known)


def read_lines(raw: Any, params: Any, known: list[str]) -> ReturnedLines:
    """Read a pytree like params, or a dict of lines such as "dW1", or "dlayers" with the subtree for layers."""
    # the parameters come first among the known, in the order of the leaves of params
    of_params = known[: len(_numbers(params))]
    raw = raw.tolist() if isinstance(raw, np.ndarray) and raw.dtype == object else raw
    leaves, like = (jax.tree.leaves(tree, is_leaf=lambda leaf: leaf is None) for tree in (raw, params))
    if len(leaves) == len(like) and jax.tree.structure(_skeleton(raw)) == jax.tree.structure(_skeleton(params)):
        # a leaf that is no number, such as the activation of a layer, has no line
        pairs = ((leaf, p) for leaf, p in zip(leaves, like, strict=True) if isinstance(p, NUMBERS))
        triples = ((n, *pair) for n, pair in zip(of_params, pairs, strict=True))
        judged = ((n, leaf) for n, leaf, p in triples if not _says_none(leaf) or isinstance(p, float) or is_float(p))
        return _read_arrays(judged)._replace(like_params=True)
    is_pair = isinstance(raw, tuple) and len(raw) == 2 and not isinstance(raw[1], str)
    is_cost = is_pair and jax.tree.structure(raw[0]) == jax.tree.structure(0) and np.size(raw[0]) == 1
    if is_cost and _are_gradients(raw[1], params):
        return read_lines(raw[1], params, known)  # (cost, gradient)
    if isinstance(raw, dict) and raw.keys() == set(of_params):
        return _read_arrays(raw.items())._replace(like_params=True)  # params is no dict, but a dataclass, say
    if not isinstance(raw, dict):
        return _read_unnamed(raw, params, of_params)
    if isinstance(params, dict) and raw and raw.keys() < params.keys():
        missing = ", ".join(str(key) for key in params if key not in raw)
        advice = "return all of it, or a dict of lines named 'd...'"
        raise TypeError(f"backward returned a pytree like params, but without {missing}; {advice}")
    lines, unknown = list[tuple[str, Any]](), dict[str, str]()
    for key, value in raw.items():
        name = str(key).removeprefix("d")
        inside = [(name, value)] if name in known else _read_subtree(name, value, known, of_params)
        if str(key).startswith("d") and inside:
            lines += inside
        else:
            unknown[str(key)] = unknown_name(str(key), known)
    returned = _read_arrays(lines)
    return returned._replace(faults=returned.faults | unknown)


def _are_gradients(second: Any, params: Any) -> bool:
    """Return whether the second of a number and this holds all gradients, so that the number is the cost."""
    shapes = [np.shape(p) for p in _numbers(params)]
    if len(shapes) == 1:
        return not _is_number(second) or shapes[0] != (2,)  # else two numbers for an array of two
    return jax.tree.structure(second) != jax.tree.structure(0) or np.shape(second) == (sum(map(math.prod, shapes)),)


def _read_unnamed(raw: Any, params: Any, of_params: list[str]) -> ReturnedLines:
    """Read a flat vector, or a tuple for a dict if the shapes leave no doubt about the order of its entries.

    A vector is in the order of ravel_pytree, or in that of the keys of params if it is right only there.
    """
    shapes = [np.shape(p) for p in _numbers(params)]
    orders = [list(range(len(shapes)))]
    orders += [own] if (own := _own_order(params)) != orders[0] else []
    found, size = jax.tree.leaves(raw), sum(map(math.prod, shapes))
    listed = isinstance(raw, list) or (isinstance(raw, tuple) and len(shapes) == 1)
    if listed and found and all(map(_is_number, found)) and len(found) == size:
        found = [np.array(found).reshape(shapes[0] if len(shapes) == 1 else size)]  # numbers in nested lists
    if len(found) == 1 and np.size(found[0]) == size == max(np.shape(found[0]), default=0):
        readings = [_split(found[0].reshape(size), of_params, shapes, order) for order in orders]
        return ReturnedLines(readings[0], {}, like_params=True, in_own_order=readings[1] if len(orders) == 2 else None)
    given = [np.shape(leaf) for leaf in found]
    if isinstance(raw, tuple | list) and len(set(shapes)) == len(shapes) and sorted(given) == sorted(shapes):
        orders = [[shapes.index(shape) for shape in given]]  # the shapes alone tell which is which
    alone = len(orders) == 1 and len(found) == len(shapes)
    fitting = orders if alone else [order for order in orders if given == [shapes[i] for i in order]]
    if len(fitting) == 1 and isinstance(raw, tuple | list):
        names = [of_params[i] for i in fitting[0]]
        return _read_arrays(zip(names, found, strict=True))._replace(like_params=True)
    if raw is None:
        got = "None; is a `return` missing?"
    elif len(found) == 1 and found[0] is raw:
        got = f"{type(raw).__name__} of shape {np.shape(raw)}" if hasattr(raw, "shape") else type(raw).__name__
    else:
        got = f"{jax.tree.structure(raw)}"
        got += ", in which the shapes do not tell which entry belongs to which parameter" if fitting else ""
    raise TypeError(
        "backward must return a dict of lines, {'dW1': ..., 'dZ1': ...}, or a pytree like params, "
        f"{jax.tree.structure(params)}, or a flat vector of it; it returned {got}"
    )


def _numbers(params: Any) -> list:
    return [leaf for leaf in jax.tree.leaves(params) if isinstance(leaf, NUMBERS)]


def _is_number(value: Any) -> bool:
    return jax.tree.structure(value) == jax.tree.structure(0) and np.ndim(value) == 0


def _says_none(line: Any) -> bool:
    """Return whether a line says that an integer has no derivative, by None or by JAX's float0."""
    return line is None or getattr(line, "dtype", None) == jax.dtypes.float0


def _split(vector: Any, names: list[str], shapes: list[tuple[int, ...]], order: list[int]) -> dict[str, Any]:
    ends = np.cumsum([math.prod(shapes[i]) for i in order])
    parts = [vector[end - math.prod(shapes[i]) : end].reshape(shapes[i]) for i, end in zip(order, ends, strict=True)]
    return as_arrays({names[i]: part for i, part in zip(order, parts, strict=True)})


def _own_order(params: Any) -> list[int]:
    """Number the leaves as JAX does, which sorts the keys of a dict, and list them in the order of the keys."""
    numbers = count()
    numbered = jax.tree.map(lambda leaf: next(numbers) if isinstance(leaf, NUMBERS) else None, params)

    def listed(tree: Any, like: Any) -> list[int]:
        if isinstance(like, dict):
            return [i for key in like for i in listed(tree[key], like[key])]
        if isinstance(like, tuple | list):
            return [i for a, b in zip(tree, like, strict=True) for i in listed(a, b)]
        return jax.tree.leaves(tree)

    return listed(numbered, params)


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
    found, faults, given = {}, {}, dict(lines)
    for name, value in given.items():
        try:
            found |= as_arrays({name: value})
        except (TypeError, ValueError):
            kind = type(value).__name__ + (f" of {value.dtype}" if hasattr(value, "dtype") else "")
            faults["d" + name] = f"expected an array of real numbers; got {kind}"
    return ReturnedLines(found, faults, memory=_addresses(given))


def _addresses(lines: Mapping[str, Any]) -> dict[str, int]:
    arrays = {n: line for n, line in lines.items() if isinstance(line, np.ndarray)}
    return {n: array.__array_interface__["data"][0] for n, array in arrays.items()}


def as_arrays(lines: dict[str, Any]) -> dict[str, Any]:
    """Copy lines to floating-point NumPy arrays, except for tracers."""
    arrays = {n: value if isinstance(value, Tracer) else np.array(value) for n, value in lines.items()}
    if any(a.dtype.kind in "cOSU" for a in arrays.values() if isinstance(a, np.ndarray)):
        raise TypeError
    return {n: a if is_float(a) else a.astype(np.float64) for n, a in arrays.items()}
