"""A state as a checkpoint holds it: an outline of all nodes, and the arrays by their place in it."""

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import dtypes

from manual_bp._kind import a_kind

Entry = list[Any]  # of the outline: path, kind, and the value of a Python number


def pack(state: Any) -> tuple[list[Entry], dict[str, np.ndarray]]:
    """The outline of a state, which JSON can hold, and its arrays."""
    outline = []
    arrays = {}
    for i, (path, kind, leaf) in enumerate(_nodes(state)):
        outline.append([path, kind, leaf if _is_number(leaf) else None])
        if leaf is not None and not _is_number(leaf):
            arrays[str(i)] = np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
    return outline, arrays


def difference(outline: list[Entry], like: Any) -> str | None:
    """What first tells a saved state from another one by structure, shapes or dtypes."""
    nothing = ("nothing", "", None)
    for (path, kind, _), (path_like, kind_like, _) in zip_longest(outline, _nodes(like), fillvalue=nothing):
        if path != path_like:
            return f"it has {path}; expected {path_like}"
        if kind != kind_like:
            return f"{path} is {kind}; expected {kind_like}"
    return None


def unpack(outline: list[Entry], arrays: dict[str, np.ndarray], like: Any) -> Any:
    """The state in the tree of `like`, between which and the outline is no difference."""
    leaves = [
        number if _is_number(leaf) else _place(arrays[str(i)], leaf)
        for i, ((_, _, number), (_, _, leaf)) in enumerate(zip(outline, _nodes(like), strict=True))
        if leaf is not None
    ]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _nodes(tree: Any, path: str = "state") -> Iterator[tuple[str, str, Any]]:
    """Path, kind and, of a leaf, the value; inner nodes too, as optimizers can differ in those without arrays."""
    children, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda node: node is not tree)
    if len(children) == 1 and not children[0][0]:
        yield path, _kind(path, tree), tree
        return
    name = type(tree).__name__
    yield path, f"{name} of {len(children)}" if name in ("tuple", "list", "dict") else name, None
    for key, child in children:
        yield from _nodes(child, path + jax.tree_util.keystr(key))


def _kind(path: str, leaf: Any) -> str:
    if _is_number(leaf):
        return type(leaf).__name__
    if not hasattr(leaf, "dtype") or not hasattr(leaf, "shape"):
        raise TypeError(f"{path} is {a_kind(leaf)}; expected an array or a number")
    return f"{leaf.dtype.name}[{','.join(map(str, leaf.shape))}]"


def _is_number(leaf: Any) -> bool:
    return type(leaf) in (bool, int, float)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, dtypes.prng_key)


def _place(value: np.ndarray, like: Any) -> Any:
    """The value as `like` is: of NumPy or on its devices, a random key, weakly typed."""
    if isinstance(like, np.ndarray | np.generic):
        return value[()] if isinstance(like, np.generic) else value
    # float64 stays float64 wherever it is restored
    with jax.enable_x64(True):
        placed = value
        if _is_key(like):
            placed = jax.random.wrap_key_data(jnp.asarray(value), impl=jax.random.key_impl(like))
        elif like.weak_type:
            placed = jax.lax.full_like(like, 0).at[...].set(value)
        # An array that was not bound to its device must not be now: next to one on a mesh it could not be used
        return jax.device_put(placed, like.sharding if like.committed else None)
