"""The arguments of a cost: which arrays they hold, what these are called, and copies of them in float64."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import DictKey, GetAttrKey, SequenceKey


class Inputs(NamedTuple):
    """(params, *args) taken apart: the arrays, the name of each, and the way back.

    A Python number among the args, or anything else that is no array, stays where it is.
    """

    arrays: list[Any]
    names: tuple[str, ...]
    of_params: tuple[bool, ...]
    rebuild: Callable[[Sequence], tuple]

    def cast(self, dtype: Any) -> "Inputs":
        """Copies with every floating-point array in `dtype`: NumPy arrays stay NumPy's, JAX's stay JAX's."""
        return self._replace(arrays=[_cast(a, dtype) for a in self.arrays])

    def copies(self) -> tuple:
        """(params, *args) again, of copies: what a backward pass does to them in place stays its own."""
        return self.rebuild(self.copied_arrays())

    def copied_arrays(self) -> list:
        return [a.copy() if isinstance(a, np.ndarray) else a for a in self.arrays]


def is_float(array: Any) -> bool:
    return jnp.issubdtype(array.dtype, jnp.floating)


def take_apart(cost: Callable, params: Any, args: Sequence, numbers: bool = True) -> Inputs:
    """The arrays of params and args, and the Python numbers in params unless `numbers` is false.

    A parameter is named by its path in params, an argument by cost's signature.
    """
    names = argument_names(cost, 1 + len(args))
    paths, structure = jax.tree_util.tree_flatten_with_path((params, *args))
    found = []
    for index, (path, leaf) in enumerate(paths):
        of_params = path[0].idx == 0
        if isinstance(leaf, jax.Array | np.ndarray | np.generic) or (
            numbers and of_params and isinstance(leaf, float | int)
        ):
            array = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
            if jnp.issubdtype(array.dtype, jnp.complexfloating):
                raise TypeError(f"{path_name(path, names)} is complex; the checker takes real parameters and arguments")
            found.append((index, array, path_name(path, names), of_params))
    leaves = [leaf for _, leaf in paths]

    def rebuild(arrays: Sequence) -> tuple:
        again = list(leaves)
        for (index, *_), array in zip(found, arrays, strict=True):
            again[index] = array
        return jax.tree.unflatten(structure, again)

    return Inputs([f[1] for f in found], tuple(f[2] for f in found), tuple(f[3] for f in found), rebuild)


def argument_names(function: Callable, number: int) -> list[str]:
    """The names of a function's first positional arguments, args[i] past those that its signature names."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        parameters = []
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][:number]
    return named + [f"args[{i}]" for i in range(number - len(named))]


def path_name(path: tuple, names: Sequence[str]) -> str:
    """W1 for params["W1"], layers[0].W for params["layers"][0].W, params[0].W for params[0].W, X for an argument X."""
    argument, *rest = path
    if argument.idx == 0 and rest and isinstance(getattr(rest[0], "key", getattr(rest[0], "name", None)), str):
        return _key(rest[0]).removeprefix(".") + suffix(rest[1:])
    return names[argument.idx] + suffix(rest)


def suffix(path: Sequence) -> str:
    return "".join(_key(key) for key in path)


def _key(key: Any) -> str:
    match key:
        case DictKey(key=str(name)) | GetAttrKey(name=name):
            return f".{name}"
        case DictKey(key=name) | SequenceKey(idx=name):
            return f"[{name}]"
    return f".{key}"


def _cast(array: Any, dtype: Any) -> Any:
    if isinstance(array, jax.Array):
        return array.astype(dtype) if is_float(array) else array
    return np.array(array, dtype if is_float(array) else None)
