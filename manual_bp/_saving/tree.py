"""A pytree as an outline, which JSON can hold, and its arrays by their paths in the tree."""

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from manual_bp._kind import a_kind
from manual_bp._saving.file import shown

NUMBERS = (bool, int, float)


def pack(tree: Any) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """The outline, the kind of each node by its path, and the arrays, random keys and Python numbers as arrays."""
    nodes = list(_nodes(tree))
    return {path: kind for path, kind, _ in nodes}, {path: _bits(leaf) for path, _, leaf in nodes if leaf is not None}


def difference(outline: dict[str, str], like: Any) -> str | None:
    """The first difference in structure, shape or dtype between a saved tree and another one, in words."""
    expected, _ = pack(like)
    for (path, kind), (its, of) in zip_longest(outline.items(), expected.items(), fillvalue=("nothing", "")):
        if path != its:
            return f"it has {shown(path)}; the one passed has {shown(its)}"
        if kind != of:
            return f"{shown(path)} is {shown(kind, 40)}; the one passed is {shown(of, 40)}"
    return None


def unpack(arrays: dict[str, np.ndarray], like: Any) -> Any:
    """The saved tree, with the structure of `like`, each leaf on the devices of its counterpart."""
    _, expected = pack(like)
    shapes, shapes_like = ({path: (a.shape, a.dtype) for path, a in each.items()} for each in (arrays, expected))
    if shapes != shapes_like:
        raise ValueError("its arrays are not those of its outline")
    leaves = map(_place, (arrays[path] for path in expected), jax.tree.leaves(like))
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _nodes(tree: Any, path: str = "training") -> Iterator[tuple[str, str, Any]]:
    """Path, kind and, for a leaf, value; inner nodes too, as optimizers can differ in those without arrays."""
    children, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda node: node is not tree)
    if len(children) == 1 and not children[0][0]:
        yield path, _kind(path, tree), tree
        return
    name = type(tree).__name__
    yield path, f"{name} of {len(children)}" if name in ("tuple", "list", "dict") else name, None
    for key, child in children:
        yield from _nodes(child, path + jax.tree_util.keystr(key))


def _kind(path: str, leaf: Any) -> str:
    if type(leaf) in NUMBERS:
        return type(leaf).__name__
    if not hasattr(leaf, "dtype") or not hasattr(leaf, "shape"):
        raise TypeError(f"{path} is {a_kind(leaf)}; expected an array or a number")
    return f"{leaf.dtype.name}[{','.join(map(str, leaf.shape))}]"


def _bits(leaf: Any) -> np.ndarray:
    is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


def _place(value: Any, like: Any) -> Any:
    """The value as a leaf like this one: a number, NumPy's, or on its devices, a random key, weakly typed."""
    if type(like) in NUMBERS:
        return value.item()
    if isinstance(like, np.ndarray | np.generic):
        return value[()] if isinstance(like, np.generic) else value
    # float64 stays float64 wherever it is restored
    with jax.enable_x64(True):
        if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
            value = jax.random.wrap_key_data(jnp.asarray(value), impl=jax.random.key_impl(like))
        elif like.weak_type:
            value = jax.lax.full_like(like, 0).at[...].set(value)
        # An array that was not bound to its device must not be now: next to one on a mesh it could not be used
        return jax.device_put(value, like.sharding if like.committed else None)
