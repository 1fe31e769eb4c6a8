"""Checks of arguments by their types, shapes and dtypes alone, so that compiled code pays nothing for them."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array

from manual_bp._activations import SOFTMAX
from manual_bp._checks import functions, numbers
from manual_bp._checks.numbers import DTYPES as DTYPES
from manual_bp._costs import CROSS_ENTROPIES
from manual_bp._jit import unreadable
from manual_bp._kind import a_kind as a_kind
from manual_bp._machine.blocks import BlockSize
from manual_bp._machine.devices import DATA
from manual_bp._machine.precision import accumulator
from manual_bp._network import Layer, Network, Params


def checked(
    network: Network, params: Params, X: Any, Y: Any, weights: Any = None
) -> tuple[Params, Array, Array, Array | None]:
    """The arguments as the equations take them.

    X and a float Y get the dtype of the parameters, weights become a row of shape (1, m) in the dtype of sums.
    """
    params, X = inputs(network, params, X)
    _targets(network, Y, X.shape[1])
    _weights(weights, X.shape[1])
    Y = Y.astype(int if jnp.issubdtype(Y.dtype, jnp.integer) else X.dtype)
    if weights is not None:
        weights = weights.astype(accumulator(X.dtype)).reshape(1, -1)
    return params, X, Y, weights


class Remembered:
    """`checked` for one network, which looks at shapes and dtypes only once if it leaves such arguments as they are."""

    def __init__(self, network: Network) -> None:
        self.network, self.seen = network, set()

    def __call__(self, *args: Any) -> Any:
        leaves, structure = jax.tree.flatten(args)
        kinds = structure, *((x.shape, x.dtype) for x in leaves if isinstance(x, jax.Array))
        if len(kinds) == 1 + len(leaves) and kinds in self.seen:
            return args
        found = checked(self.network, *args)
        if all(x is y for x, y in zip(jax.tree.leaves(found), leaves, strict=True)):
            self.seen.add(kinds)
        return found


def examples(network: Network, X: Any, Y: Any, weights: Any) -> None:
    """Refuse examples that do not fit the network or each other."""
    _inputs(network, X)
    _targets(network, Y, X.shape[1])
    _weights(weights, X.shape[1])


def inputs(network: Network, params: Params, X: Any) -> tuple[Params, Array]:
    """The arguments of a forward pass, as the equations take them."""
    check_network(network)
    dtype = parameters(network, params)
    _inputs(network, X)
    functions.activations_and_cost(network, X.shape[1], dtype)
    return params, X.astype(dtype)


def check_network(network: Network) -> None:
    """Refuse anything but a network."""
    if not isinstance(network, Network):
        raise TypeError(f"network is {a_kind(network)}; expected a bp.Network")


def parameters(network: Network, params: Params) -> jnp.dtype:
    """The one dtype of all parameters."""
    L = len(network.activations)
    if not isinstance(params, tuple) or isinstance(params, Layer):
        hint = ": pass tuple(params)" if isinstance(params, list) else ""
        raise TypeError(f"params is {a_kind(params)}; expected a tuple of {L} bp.Layer(W, b){hint}")
    if len(params) != L:
        raise ValueError(f"params has length {len(params)}; expected {L} layers, as network.sizes is {network.sizes}")
    dtype = None
    for l, layer in enumerate(params, start=1):
        if not isinstance(layer, Layer):
            raise TypeError(f"layer {l} of params is {a_kind(layer)}; expected a bp.Layer(W, b)")
        n, k = network.sizes[l], network.sizes[l - 1]
        for name, value, expected in (("W", layer.W, (n, k)), ("b", layer.b, (n, 1))):
            name = f"{name}[{l}]"
            _array(name, value, f"shape {expected}")
            if value.shape != expected:
                hint = f": transpose it, a row for each of the {n} units of layer {l}" if value.shape == (k, n) else ""
                raise ValueError(f"{name} has shape {value.shape}; expected {expected}{hint}")
            if value.dtype.name not in DTYPES:
                raise TypeError(f"{name} has dtype {value.dtype}; expected {' or '.join(DTYPES)}")
            dtype = dtype or value.dtype
            if value.dtype != dtype:
                raise TypeError(f"{name} has dtype {value.dtype}; expected {dtype}, the dtype of W[1]")
    assert dtype is not None
    return dtype


def check_block_size(block_size: BlockSize) -> BlockSize:
    """The option as a user gives it: an integer, 1 or more, "auto" or None."""
    if block_size is None or isinstance(block_size, str) and block_size == "auto":
        return block_size
    if isinstance(block_size, str):
        raise ValueError(f"block_size is {block_size!r}; expected an integer, 'auto' or None")
    return numbers.count("block_size", block_size, ", 'auto' or None")


def check_mesh(mesh: Mesh) -> None:
    """Refuse anything but a mesh."""
    if not isinstance(mesh, Mesh):
        raise TypeError(f"mesh is {a_kind(mesh)}; expected a jax.sharding.Mesh, as jax.make_mesh gives")


def check_data_mesh(mesh: Mesh | None) -> None:
    """Refuse a mesh over which no examples can be spread."""
    if mesh is None:
        return
    check_mesh(mesh)
    if DATA not in mesh.axis_names:
        raise ValueError(
            f"mesh has {axes_of(mesh)}; expected an axis '{DATA}', over which examples are spread, such as that of "
            f"jax.make_mesh((len(jax.devices()),), ('{DATA}',))"
        )


def axes_of(mesh: Mesh) -> str:
    """The axes of a mesh, in words."""
    return "the axes " + ", ".join(map(repr, mesh.axis_names))


def _inputs(network: Network, X: Any) -> None:
    n = network.sizes[0]
    expected = f"({n}, m): columns are examples"
    _array("X", X, f"shape {expected}")
    if X.ndim != 2 or X.shape[0] != n:
        hint = ", so pass X.T" if X.ndim == 2 and X.shape[1] == n else ""
        hint = ", so pass X[:, None] for one example" if X.shape == (n,) else hint
        raise ValueError(f"X has shape {X.shape}; expected {expected}{hint}")
    if X.shape[1] == 0:
        raise ValueError(f"X has shape {X.shape}; expected at least one example (column)")
    _float("X", X)


def _targets(network: Network, Y: Any, m: int) -> None:
    n = network.sizes[-1]
    categorical = network.cost == CROSS_ENTROPIES[SOFTMAX]
    expected = f"({n}, {m})" + (f", or ({m},) for integer class indices" if categorical else "")
    _array("Y", Y, f"shape {expected}", ": np.unique(Y, return_inverse=True)[1] makes class indices of labels")
    if jnp.issubdtype(Y.dtype, jnp.integer) and categorical:
        if Y.shape != (m,):
            raise ValueError(
                f"Y has shape {Y.shape} and dtype {Y.dtype}; expected ({m},), the class index of each example; "
                "one-hot columns are floats: Y.astype(float)"
            )
        return
    if Y.shape != (n, m):
        hint = ": columns are examples, so pass Y.T" if Y.shape == (m, n) else ""
        hint = ": pass Y[None, :], one row for the one output" if Y.shape == (m,) and n == 1 else hint
        hint = f", and Y has dtype {Y.dtype}: pass Y.astype(int)" if Y.shape == (m,) and categorical else hint
        raise ValueError(f"Y has shape {Y.shape}; expected {expected}{hint}")
    _float("Y", Y)


def _weights(weights: Array | None, m: int) -> None:
    if weights is None:
        return
    _array("weights", weights, f"shape ({m},), one weight for each example")
    if weights.shape not in ((m,), (1, m)):
        raise ValueError(f"weights has shape {weights.shape}; expected ({m},), one weight for each example")
    if not (jnp.issubdtype(weights.dtype, jnp.floating) or jnp.issubdtype(weights.dtype, jnp.integer)):
        if weights.dtype != bool:
            raise TypeError(f"weights has dtype {weights.dtype}; expected numbers, or booleans: True is 1")


def _array(name: str, value: Any, expected: str, hint: str = "") -> None:
    if problem := unreadable(value, f"an array of {expected}"):
        raise TypeError(f"{name} is {problem}{hint if hasattr(value, 'dtype') else ''}")
    if not hasattr(value, "shape"):
        raise TypeError(f"{name} is {a_kind(value)}; expected an array of {expected}")


def _float(name: str, value: Array) -> None:
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise TypeError(f"{name} has dtype {value.dtype}; expected a float array: pass {name}.astype(float)")
