"""The arguments of a cost as a list of named arrays."""

import inspect
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from manual_bp.checker.graph.moved_values import Kind, kind_of, moved_values

# Not one that users draw from: from default_rng(0), a cotangent equals an argument drawn from it, and a rule that takes
# one for the other is right
SEED = 0x6D62705F
# The names of the last arguments of <u, f>: the cotangents of the outputs of f
COTANGENT = "the cotangent of "
ARRAYS = (jax.Array, np.ndarray, np.generic)


class Arguments(NamedTuple):
    """The arrays in (params, *args), their names, those of the parameters, and the function that rebuilds the tree.

    Leaves that are not arrays, such as Python numbers among the args, are kept by `rebuild`.
    """

    arrays: list[Any]
    names: tuple[str, ...]
    params: tuple[str, ...]
    rebuild: Callable[[Sequence], tuple]
    numbers: dict[str, float]  # the Python numbers that are not arrays, by name

    def cast(self, dtype: Any) -> "Arguments":
        """Return copies with every floating-point array in `dtype`, in NumPy or JAX as before."""
        return self._replace(arrays=[_cast(a, dtype) for a in self.arrays])

    def copies(self) -> tuple:
        """Return (params, *args) with copied arrays, which a backward pass may change in place."""
        return self.rebuild(self.copied_arrays())

    @np.errstate(over="ignore")  # the difference of two huge numbers
    def constants_moved(self) -> tuple["Arguments", list[str]]:
        """Move each float array of equal values or steps, an identity, or one given before, by about a tenth.

        Return the names of the arrays too.
        """
        arrays, names, rng = list(self.arrays), [], np.random.default_rng(SEED)
        for i, (name, a) in enumerate(zip(self.names, self.arrays, strict=True)):
            values = np.asarray(a, np.float64) if is_float(a) else np.empty(0)
            twice = any(is_float(b) and np.array_equal(values, np.asarray(b, np.float64)) for b in self.arrays[:i])
            if (
                values.size
                and np.isfinite(values).all()
                and (twice or np.ptp(values) == 0 or _is_even(values) or _is_identity(values))
            ):
                size = abs(values) + (values == 0)
                arrays[i] = _like(a, values + 0.1 * size * rng.normal(size=values.shape))
                names.append(name)
        return self._replace(arrays=arrays), names

    def moved(self, names: Collection[str]) -> "Arguments":
        """Move each of these arrays by about a tenth, independently of the others."""
        pairs, rng = zip(self.names, self.arrays, strict=True), np.random.default_rng(SEED)
        arrays = [_like(a, moved_values(np.asarray(a, np.float64), rng)) if n in names else a for n, a in pairs]
        return self._replace(arrays=arrays)

    def of_kind(self, *kinds: Kind) -> list[str]:
        """Return the names of the float arrays that hold values of these kinds."""
        floats = [(n, a) for n, a in zip(self.names, self.arrays, strict=True) if is_float(a)]
        return [n for n, a in floats if kind_of(np.asarray(a, np.float64)) in kinds]

    def copied_arrays(self) -> list:
        return [a.copy() if isinstance(a, np.ndarray) else a for a in self.arrays]


def _is_even(values: np.ndarray) -> bool:
    """Return whether the values are those of an arange or a linspace."""
    steps = np.diff(values.ravel())
    return steps.size > 1 and bool(np.ptp(steps) <= 1e-9 * np.abs(steps).max())


def _is_identity(values: np.ndarray) -> bool:
    """Return whether it is a multiple of the identity, as the weights of a recurrent network may be at its start."""
    return values.ndim == 2 and values.size > 1 and np.array_equal(values, values[0, 0] * np.eye(*values.shape))


def is_float(array: Any) -> bool:
    return jnp.issubdtype(array.dtype, jnp.floating)


def flatten_arguments(cost: Callable, params: Any, args: Sequence, numbers: bool = True) -> Arguments:
    """Find the arrays in params and args; with `numbers`, Python numbers in params count as arrays.

    A parameter is named by its path in params, an argument by the signature of the cost.
    """
    names = argument_names(cost, 1 + len(args))
    paths, structure = jax.tree_util.tree_flatten_with_path((params, *args))
    found, others = [], {}
    for index, (path, leaf) in enumerate(paths):
        of_params, name = path[0].idx == 0, path_name(path, names)
        counts = isinstance(leaf, np.generic | np.ndarray) and leaf.ndim == 0 and leaf.dtype.kind in "iu"
        if counts and not of_params:  # it may be a size or the end of a loop, as a Python int may
            others[name] = int(leaf)
        elif isinstance(leaf, ARRAYS) or (numbers and of_params and isinstance(leaf, float | int)):
            array = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
            if jnp.issubdtype(array.dtype, jnp.complexfloating):
                raise TypeError(f"{name} has dtype {array.dtype}; expected real parameters and arguments")
            found.append((index, array, name, of_params))
        elif isinstance(leaf, float | int) and not isinstance(leaf, bool):
            others[name] = float(leaf)
    leaves = [leaf for _, leaf in paths]

    def rebuild(arrays: Sequence) -> tuple:
        replaced = list(leaves)
        for (index, *_), array in zip(found, arrays, strict=True):
            replaced[index] = array
        return _in_order_of((params, *args), jax.tree.unflatten(structure, replaced))

    of_params = tuple(name for _, _, name, of_params in found if of_params)
    return Arguments([f[1] for f in found], tuple(f[2] for f in found), of_params, rebuild, others)


def _in_order_of(given: Any, tree: Any) -> Any:
    """Return the tree with the keys of its dicts in the order of those given, which JAX sorts."""
    if type(given) is dict:
        return {key: _in_order_of(given[key], tree[key]) for key in given}
    if type(given) in (tuple, list):
        return type(given)(_in_order_of(a, b) for a, b in zip(given, tree, strict=True))
    return tree


def argument_names(function: Callable, number: int) -> list[str]:
    """Return the names of the first positional arguments; args[i] stands for those without one."""
    inner = inspect.unwrap(function)
    if inspect.isfunction(inner) and str(inner.__module__).startswith("jax."):
        inner = inspect.getclosurevars(inner).nonlocals.get("fun", function)  # as in jax.custom_gradient
        function = inner if callable(inner) else function
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        parameters = []
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][:number]
    return named + [f"args[{i}]" for i in range(number - len(named))]


def path_name(path: tuple, names: Sequence[str]) -> str:
    """Return W1 for params["W1"], layers[0].W for params["layers"][0].W, params[0].W for params[0].W, X for X."""
    argument, *rest = path
    suffix = path_suffix(rest)
    return suffix[1:] if argument.idx == 0 and suffix.startswith(".") else names[argument.idx] + suffix


def path_suffix(path: Sequence) -> str:
    return re.sub(r"\['([^']*)'\]", r".\1", jax.tree_util.keystr(tuple(path)))


def _like(array: Any, values: np.ndarray) -> Any:
    """Return the values in the dtype and the library of an array."""
    return jnp.asarray(values, array.dtype) if isinstance(array, jax.Array) else values.astype(array.dtype)


def _cast(array: Any, dtype: Any) -> Any:
    if isinstance(array, jax.Array):
        return array.astype(dtype) if is_float(array) else array
    return np.array(array, dtype if is_float(array) else None)
