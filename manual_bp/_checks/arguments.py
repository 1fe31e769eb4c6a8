"""Checks of arguments: static, on types, shapes and dtypes alone, so that compiled code pays nothing for them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from manual_bp._activations import SOFTMAX
from manual_bp._costs import CROSS_ENTROPIES, Cost
from manual_bp._machine.products import accumulator
from manual_bp._network import Layer, Network, Params

DTYPES = ("float32", "float64", "bfloat16")


def arguments(
    network: Network, params: Params, X: Array, Y: Array, weights: Array | None
) -> tuple[Params, Array, Array, Array | None]:
    """The arguments as the equations take them.

    X and a float Y in the dtype of the parameters, weights as a row of shape (1, m) in the dtype of sums.
    """
    params, X = inputs(network, params, X)
    _beside(network, Y, weights, X.shape[1])
    Y = Y.astype(int if jnp.issubdtype(Y.dtype, jnp.integer) else X.dtype)
    if weights is not None:
        weights = weights.astype(accumulator(X.dtype)).reshape(1, -1)
    return params, X, Y, weights


def examples(network: Network, X: Array, Y: Array, weights: Array | None) -> None:
    """Refuses examples that do not fit the network or each other."""
    _inputs(network, X)
    _beside(network, Y, weights, X.shape[1])


def _beside(network: Network, Y: Array, weights: Array | None, m: int) -> None:
    _targets(network, Y, m)
    if weights is not None:
        _weights(weights, m)


def inputs(network: Network, params: Params, X: Array) -> tuple[Params, Array]:
    """The same for a forward pass alone."""
    is_network(network)
    dtype = parameters(network, params)
    _inputs(network, X)
    _functions(network, X.shape[1], dtype)
    return params, X.astype(dtype)


def is_network(network: Network) -> None:
    if not isinstance(network, Network):
        raise TypeError(f"network is a {_kind(network)}; expected a bp.Network")


def parameters(network: Network, params: Params) -> jnp.dtype:
    """The one dtype of all parameters."""
    L = len(network.activations)
    if not isinstance(params, tuple) or isinstance(params, Layer):
        hint = ": pass tuple(params)" if isinstance(params, list) else ""
        raise TypeError(f"params is a {_kind(params)}; expected a tuple of {L} bp.Layer(W, b){hint}")
    if len(params) != L:
        raise ValueError(f"params has {len(params)} layers; expected {L}, as network.sizes is {network.sizes}")
    dtype = None
    for l, layer in enumerate(params, start=1):
        if not isinstance(layer, Layer):
            raise TypeError(f"layer {l} of params is a {_kind(layer)}; expected a bp.Layer(W, b)")
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


def _inputs(network: Network, X: Array) -> None:
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


def _targets(network: Network, Y: Array, m: int) -> None:
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


def _weights(weights: Array, m: int) -> None:
    _array("weights", weights, f"shape ({m},), one weight for each example")
    if weights.shape not in ((m,), (1, m)):
        raise ValueError(f"weights has shape {weights.shape}; expected ({m},), one weight for each example")
    if not (jnp.issubdtype(weights.dtype, jnp.floating) or jnp.issubdtype(weights.dtype, jnp.integer)):
        if weights.dtype != bool:
            raise TypeError(f"weights has dtype {weights.dtype}; expected numbers, or booleans: True is 1")


def _functions(network: Network, m: int, dtype: jnp.dtype) -> None:
    """Shapes and dtypes of what the activations and the cost return: they can be a user's own."""
    for l, g in enumerate(network.activations, start=1):
        Z = jax.ShapeDtypeStruct((network.sizes[l], m), dtype)
        _returns(f"activation {g} of layer {l}: g(Z)", g.g, (Z,), Z.shape, dtype)
        if g.g_prime is not None:
            _returns(f"activation {g} of layer {l}: g_prime(Z, A)", g.g_prime, (Z, Z), Z.shape, dtype)
    # The output stage computes in float32 at least
    A = jax.ShapeDtypeStruct((network.sizes[-1], m), accumulator(dtype))
    _returns(f"cost {network.cost}: loss(A, Y)", network.cost.loss, (A, A), (m,), A.dtype)
    _returns(f"cost {network.cost}: dA(A, Y)", network.cost.dA, (A, A), A.shape, A.dtype)
    if pair := network.cost.collapsed:
        _returns(f"cost {network.cost}: collapsed.loss(Z, Y)", pair.loss, (A, A), (m,), A.dtype)
        _returns(f"cost {network.cost}: collapsed.dZ(Z, A, Y)", pair.dZ, (A, A, A), A.shape, A.dtype)


def loss_hessian(network: Network, m: int, dtype: jnp.dtype) -> Callable[..., Array]:
    """The product with the Hessian of the loss: of the collapsed form where there is one."""
    A = jax.ShapeDtypeStruct((network.sizes[-1], m), accumulator(dtype))
    return _of_cost(network.cost, "hessian", "V", (A, A, A), A.shape)


def loss_hessian_root(network: Network, m: int, dtype: jnp.dtype) -> Callable[..., Array]:
    """The same for the Hessian's root."""
    A = jax.ShapeDtypeStruct((network.sizes[-1], m), accumulator(dtype))
    return _of_cost(network.cost, "hessian_root", "", (A, A), (network.sizes[-1], *A.shape))


def _of_cost(cost: Cost, name: str, last: str, args: tuple, shape: tuple[int, ...]) -> Callable[..., Array]:
    """A function that a cost may lack, of (A, Y, last), or of (Z, A, Y, last) where it is collapsed."""
    function = getattr(cost.collapsed or cost, name)
    if function is None:
        of = "bp.Collapsed" if cost.collapsed else "bp.Cost"
        raise TypeError(f"the curvature was asked for, and cost {cost} has no {name}; pass one to {of}")
    if cost.collapsed:
        args = (*args, args[0])
    names = ", ".join(n for n in ("Z" if cost.collapsed else "", "A", "Y", last) if n)
    _returns(f"cost {cost}: {name}({names})", function, args, shape, args[0].dtype)
    return function


def second_derivatives(network: Network, m: int, dtype: jnp.dtype) -> None:
    """The activations have the g'' that a Hessian needs; all but the softmax, whose second derivative is built in."""
    for l, g in enumerate(network.activations, start=1):
        # an output that is collapsed with the cost is differentiated together with it
        if g.g_prime is None or (l == len(network.activations) and network.cost.collapsed):
            continue
        if g.g_second is None:
            raise TypeError(
                f"the Hessian was asked for, and activation {g} of layer {l} has no g_second; pass one to bp.Activation"
            )
        Z = jax.ShapeDtypeStruct((network.sizes[l], m), dtype)
        _returns(f"activation {g} of layer {l}: g_second(Z, A)", g.g_second, (Z, Z), Z.shape, dtype)


def _returns(what: str, function: Callable, args: tuple, shape: tuple[int, ...], dtype: jnp.dtype) -> None:
    out = jax.eval_shape(function, *args)
    if getattr(out, "shape", None) != shape or out.dtype != dtype:
        came = f"shape {out.shape} and dtype {out.dtype}" if hasattr(out, "shape") else f"a {_kind(out)}"
        raise ValueError(
            f"{what} returns {came}; expected shape {shape} and dtype {dtype} for arguments of shape {args[0].shape}"
        )


def _array(name: str, value: Any, expected: str, hint: str = "") -> None:
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        raise TypeError(f"{name} is a {_kind(value)}; expected an array of {expected}")
    # what NumPy has and JAX has not: objects, texts, dates
    if getattr(value.dtype, "kind", "") in "OSUMm":
        raise TypeError(f"{name} has dtype {value.dtype}; expected numbers{hint}")


def _float(name: str, value: Array) -> None:
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise TypeError(f"{name} has dtype {value.dtype}; expected a float array: pass {name}.astype(float)")


def dtype_name(name: str, dtype: Any) -> str:
    """The name of a dtype that parameters and products can have."""
    try:
        found = jnp.dtype(dtype).name
    except TypeError:
        found = repr(dtype)
    if found not in DTYPES:
        raise TypeError(f"{name} is {found}; expected {', '.join(DTYPES)}")
    return found


def a_kind(value: object) -> str:
    """What a value is, with its article."""
    kind = _kind(value)
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _kind(value: object) -> str:
    return f"array of shape {value.shape}" if isinstance(value, jax.Array) else type(value).__name__
