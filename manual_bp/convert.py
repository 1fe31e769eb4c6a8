"""Parameters converted to and from the layouts of other libraries, none of which is imported.

Here columns are examples: A[l] = g(W[l] A[l-1] + b[l]) with W[l] of shape (n_l, n_{l-1}) and b[l] of shape (n_l, 1).
In the other libraries rows are. Activations and costs are not part of the parameters; write the `bp.Network` yourself.

Arrays are copied. They keep their dtype, float32, float64 or bfloat16, unless another `dtype` is given. Without
jax_enable_x64 JAX would narrow float64 to float32, so that is an error unless `dtype` asks for it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from manual_bp._checks.arguments import DTYPES, a_kind, parameters
from manual_bp._network import Layer, Network, Params
from manual_bp._saving.model import to_jax

__all__ = ["from_flax", "from_sklearn", "from_torch", "to_flax", "to_sklearn", "to_torch"]

_DType = jax.typing.DTypeLike | None


def to_sklearn(params: Params) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Convert parameters to `coefs_` and `intercepts_` of scikit-learn's MLPClassifier and MLPRegressor.

    A[l] = g(A[l-1] coefs[l-1] + intercepts[l-1]), so coefs[l-1] = W[l]^T of shape (n_{l-1}, n_l), and intercepts[l-1] =
    b[l] of shape (n_l,).

    Example:
        >>> params = bp.init(bp.Network((2, 3, 4)), jax.random.key(0))
        >>> coefs, intercepts = bp.convert.to_sklearn(params)
        >>> [W.shape for W in coefs]
        [(2, 3), (3, 4)]
    """
    layers = _layers(params)
    return [np.array(W.T, order="C") for W, _ in layers], [b for _, b in layers]


def from_sklearn(coefs: Sequence[Any], intercepts: Sequence[Any], dtype: _DType = None) -> Params:
    """Convert `coefs_` and `intercepts_` to parameters, the inverse of `to_sklearn`.

    For the network of a fitted estimator take its activation as `hidden` ("logistic" is "sigmoid" here) and its
    `out_activation_` as `output`.

    Raises:
        ValueError: no layer, another number of intercepts, shapes that do not fit, or float64 without jax_enable_x64.
        TypeError: an array of anything but floats, or layers of different dtypes.

    Example:
        >>> coefs, intercepts = [np.ones((2, 4), np.float32)], [np.zeros(4, np.float32)]
        >>> params = bp.convert.from_sklearn(coefs, intercepts)
        >>> params[0].W.shape, params[0].b.shape
        ((4, 2), (4, 1))
    """
    if len(coefs) != len(intercepts):
        expected = f"{len(coefs)}, one for each of coefs: pass zeros for missing biases"
        raise ValueError(f"intercepts has length {len(intercepts)}; expected {expected}")
    pairs = enumerate(zip(coefs, intercepts, strict=True))
    found = [(f"coefs[{i}]", W, f"intercepts[{i}]", b) for i, (W, b) in pairs]
    return _params(found, True, dtype)


def to_torch(params: Params) -> dict[str, np.ndarray]:
    """Convert parameters to the state_dict, in NumPy, of a torch.nn.Sequential that alternates Linear and activation.

    A[l] = g(A[l-1] weight^T + bias), so weight = W[l] of shape (n_l, n_{l-1}), and bias = b[l] of shape (n_l,). The
    arrays of layer l are named f"{2 * (l - 1)}.weight" and ".bias". Before `load_state_dict`, pass each array through
    `torch.from_numpy`; it does not support bfloat16, so convert that to float32.

    Example:
        >>> params = bp.init(bp.Network((2, 3, 4)), jax.random.key(0))
        >>> list(bp.convert.to_torch(params))
        ['0.weight', '0.bias', '2.weight', '2.bias']
    """
    state = {}
    for i, (W, b) in enumerate(_layers(params)):
        state |= {f"{2 * i}.weight": W, f"{2 * i}.bias": b}
    return state


def from_torch(state_dict: Mapping[str, Any], dtype: _DType = None) -> Params:
    """Convert the state_dict of a model of Linear layers to parameters, the inverse of `to_torch`.

    Args:
        state_dict: torch tensors or arrays under names that end in "weight" and "bias", in the order of the layers.
            The start of the name, such as "0." or "_orig_mod.net.0.", has to be the same for both arrays of a layer.
        dtype: the dtype of the parameters; None keeps that of the arrays.

    Raises:
        ValueError, TypeError: as in `from_sklearn`; also a layer without bias, or a name that ends in neither.

    Example:
        >>> state_dict = {"0.weight": np.ones((4, 2), np.float32), "0.bias": np.zeros(4, np.float32)}
        >>> params = bp.convert.from_torch(state_dict)
        >>> params[0].W.shape, params[0].b.shape
        ((4, 2), (4, 1))
    """
    if not isinstance(state_dict, Mapping):
        hint = ": pass model.state_dict()" if hasattr(state_dict, "state_dict") else ""
        raise TypeError(f"state_dict is {a_kind(state_dict)}; expected a mapping of names to arrays{hint}")
    layers: dict[str, dict[str, Any]] = {}
    for name, value in state_dict.items():
        prefix, dot, kind = str(name).rpartition(".")
        if kind not in ("weight", "bias"):
            raise ValueError(f"state_dict has {name!r}; expected only the weight and bias of Linear layers")
        layers.setdefault(prefix + dot, {})[kind] = value
    found = []
    for prefix, layer in layers.items():
        if len(layer) < 2:
            missing = f"{prefix}{'bias' if 'weight' in layer else 'weight'}"
            hint = ": add zeros for a Linear without bias" if "weight" in layer else ""
            raise ValueError(f"state_dict has no {missing!r}; expected a weight and a bias for each layer{hint}")
        found.append((f"{prefix}weight", layer["weight"], f"{prefix}bias", layer["bias"]))
    return _params(found, False, dtype)


def to_flax(params: Params) -> dict[str, dict[str, jax.Array]]:
    """Convert parameters to those of a flax.linen module of Dense layers.

    The result is {"Dense_0": {"kernel": ..., "bias": ...}, "Dense_1": ...}, for `module.apply({"params": ...}, X.T)`.
    A[l] = g(A[l-1] kernel + bias), so kernel = W[l]^T of shape (n_{l-1}, n_l), and bias = b[l] of shape (n_l,).

    Example:
        >>> tree = bp.convert.to_flax(bp.init(bp.Network((2, 3, 4)), jax.random.key(0)))
        >>> tree["Dense_0"]["kernel"].shape
        (2, 3)
    """
    _check(params)
    dense = [{"kernel": jnp.asarray(W).T, "bias": jnp.asarray(b)[:, 0]} for W, b in params]
    return {f"Dense_{i}": layer for i, layer in enumerate(dense)}


def from_flax(tree: Mapping[Any, Any], dtype: _DType = None) -> Params:
    """Convert the parameters of a flax module of Dense layers (linen) or Linear layers (nnx), the inverse of `to_flax`.

    Args:
        tree: nested mappings with {"kernel", "bias"} for each layer, such as the result of `module.init`, with or
            without its outer "params", or `nnx.state(model, nnx.Param)`. JAX sorts dicts, so the order of the layers is
            that of the numbers at the end of their names.
        dtype: the dtype of the parameters; None keeps that of the arrays.

    Raises:
        ValueError, TypeError: as in `from_sklearn`; also a layer without bias or with anything else, and a name
            without a number or with the number of another.

    Example:
        >>> tree = {"Dense_0": {"kernel": jnp.ones((2, 4)), "bias": jnp.zeros(4)}}
        >>> params = bp.convert.from_flax(tree)
        >>> params[0].W.shape, params[0].b.shape
        ((4, 2), (4, 1))
    """
    if not isinstance(tree, Mapping):
        hint = "pass variables['params'], or for an nnx model nnx.state(model, nnx.Param)"
        raise TypeError(f"tree is {a_kind(tree)}; expected nested mappings: {hint}")
    layers = list(_dense(tree["params"] if "params" in tree else tree, "tree"))
    numbers = [int(found[0]) if (found := re.search(r"\d+$", name)) else None for name, _ in layers]
    for i, (name, layer) in enumerate(layers):
        if set(layer) != {"kernel", "bias"}:
            hint = ": add zeros for a layer without bias" if set(layer) == {"kernel"} else ""
            raise ValueError(f"{name} has {', '.join(map(str, layer))}; expected kernel and bias{hint}")
        if len(layers) > 1 and (numbers[i] is None or numbers.index(numbers[i]) < i):
            what = "no number" if numbers[i] is None else f"the number of {layers[numbers.index(numbers[i])][0]}"
            raise ValueError(
                f"layer {name} has {what} at the end of its name; expected a number of its own, for the order "
                "of the layers: pass {'Dense_0': ..., 'Dense_1': ...}"
            )
    ordered = sorted(zip(numbers, layers, strict=True), key=lambda pair: pair[0] or 0)
    found = [(f"{name}/kernel", d["kernel"], f"{name}/bias", d["bias"]) for _, (name, d) in ordered]
    return _params(found, True, dtype)


def _params(found: list[tuple[str, Any, str, Any]], inputs_first: bool, dtype: _DType) -> Params:
    """The layers made of named weights of shape (n_in, n_out), or (n_out, n_in), and named biases of shape (n_out,)."""
    if not found:
        raise ValueError("there is no layer; expected at least one, with a weight and a bias")
    layout = "(n_in, n_out)" if inputs_first else "(n_out, n_in)"
    params, outputs, before = [], None, ""
    for W_name, W, b_name, b in found:
        W, b = _array(W_name, W, dtype), _array(b_name, b, dtype)
        if W.ndim != 2:
            raise ValueError(f"{W_name} has shape {W.shape}; expected {layout}, as of a fully connected layer")
        W = W.T if inputs_first else W
        n, k = W.shape
        if b.shape != (n,):
            hint = f": {W_name} looks transposed, {layout} is expected" if b.shape == (k,) else ""
            raise ValueError(f"{b_name} has shape {b.shape}; expected ({n},), the outputs of {W_name}{hint}")
        if outputs not in (None, k):
            raise ValueError(f"{W_name} has {k} inputs; expected {outputs}, the outputs of {before}; it is {layout}")
        params.append(Layer(to_jax(W_name, W, dtype), to_jax(b_name, b[:, None], dtype)))
        first = params[0].W.dtype
        for name, value in zip((W_name, b_name), params[-1], strict=True):
            if value.dtype != first:
                raise TypeError(f"{name} has dtype {value.dtype}; expected {first}, as {found[0][0]}: pass dtype")
        outputs, before = n, W_name
    return tuple(params)


def _array(name: str, value: Any, dtype: _DType) -> np.ndarray:
    """An array, a torch tensor or a flax variable as a NumPy array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        # NumPy has no bfloat16 of its own, so torch does not convert it
        bfloat16 = str(value.dtype) == "torch.bfloat16"
        array = value.float().numpy().astype(jnp.bfloat16) if bfloat16 else value.numpy()
    else:
        array = np.asarray(value)
        if array.dtype == object and hasattr(value, "value"):
            array = np.asarray(value.value)
    if not jnp.issubdtype(array.dtype, np.floating) or (dtype is None and array.dtype.name not in DTYPES):
        hint = ": pass dtype" if jnp.issubdtype(array.dtype, np.floating) else ""
        raise TypeError(f"{name} has dtype {array.dtype}; expected {', '.join(DTYPES)}{hint}")
    return array


def _dense(tree: Mapping[Any, Any], name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The innermost mappings with their names."""
    if all(isinstance(value, Mapping) for value in tree.values()):
        for key, value in tree.items():
            yield from _dense(value, f"{name}/{key}")
    else:
        yield name, tree


def _check(params: Params) -> None:
    """Refuse anything but layers that fit each other, with the messages of every other function."""
    if not isinstance(params, tuple) or not params or not all(isinstance(layer, Layer) for layer in params):
        raise TypeError(f"params is {a_kind(params)}; expected a tuple of bp.Layer(W, b)")
    shapes = [np.shape(layer.W) for layer in params]
    for l, shape in enumerate(shapes, start=1):
        if len(shape) != 2:
            raise ValueError(f"W[{l}] has shape {shape}; expected (n_{l}, n_{l - 1})")
    sizes = (shapes[0][1], *(n for n, _ in shapes))
    parameters(Network(sizes, "identity", "identity", "squared_error"), params)


def _layers(params: Params) -> list[tuple[np.ndarray, np.ndarray]]:
    """Copies of W and b of each layer as NumPy arrays, b of shape (n,)."""
    _check(params)
    return [(np.array(layer.W, order="C"), np.array(layer.b)[:, 0].copy()) for layer in params]
