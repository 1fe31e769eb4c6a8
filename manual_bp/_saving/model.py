"""Save a model and load it again, bit for bit."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from manual_bp._activations import ACTIVATIONS
from manual_bp._checks.arguments import DTYPES, a_kind, check_network, parameters
from manual_bp._costs import COSTS, CROSS_ENTROPIES
from manual_bp._network import Layer, Network, Params
from manual_bp._saving.file import Kind, as_path, read, shown, write


class SavedModelError(ValueError):
    """The error for a file that is not a saved model, or cannot be loaded as one. Its message says what to do.

    Example:
        >>> try:
        ...     bp.load(".")
        ... except bp.SavedModelError as error:
        ...     print(error)
        . can't be read (Is a directory); expected a model saved by bp.save
    """


MODEL = Kind("model", "a model saved by bp.save", "copy it again, or save the model anew", SavedModelError)


class Saved(NamedTuple):
    """A model that was loaded, as `bp.load` returns it: the network, its parameters, and what was saved with them.

    Example:
        >>> network = bp.Network((4, 8, 3))
        >>> saved = bp.Saved(network, bp.init(network, jax.random.key(0)), extra={"classes": ["a", "b", "c"]})
        >>> saved.extra["classes"][0]
        'a'
    """

    network: Network
    params: Params
    extra: dict[str, Any]


def save(path: str | os.PathLike[str], network: Network, params: Params, extra: dict[str, Any] | None = None) -> None:
    """Save a model as one file, which is on the disk on return.

    The file is in the safetensors format, without code. A crash or a full disk at any moment leaves the model that was
    saved there before, or the new one. One process at a time may save to a path.

    Args:
        path: the file, such as "model.safetensors". Missing folders are made; a saved model is replaced.
        network: the description. An activation or a cost of your own is saved by its name only: `bp.load` then needs
            the network.
        params: the parameters, saved bit for bit.
        extra: a dict to save with the model, such as classes, names of features, means and scales. It must come back
            from JSON as it is: text keys; text, finite numbers, booleans, None, lists and dicts. Empty by default.

    Raises:
        FileExistsError: something other than a saved model is at the path.
        TypeError, ValueError: the parameters do not fit the network, or `extra` is not such a dict or too large.
        OSError: the disk is full, or the path cannot be written.

    Example:
        >>> import os, tempfile
        >>> network = bp.Network((4, 8, 3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     bp.save(f"{folder}/model.safetensors", network, bp.init(network, jax.random.key(0)))
        ...     print(os.listdir(folder))
        ['model.safetensors']
    """
    path = as_path("path", path)
    check_network(network)
    parameters(network, params)
    extra = {} if extra is None else extra
    if not isinstance(extra, dict):
        raise TypeError(f"extra is {a_kind(extra)}; expected a dict")
    try:
        if json.loads(json.dumps(extra, allow_nan=False)) != extra:
            raise ValueError("tuples would come back as lists, and keys as text")
    except (ValueError, TypeError, RecursionError) as error:
        raise TypeError(
            f"extra would not come back from JSON as it is: {error}; expected text keys, and text, finite numbers, "
            "booleans, None, lists or dicts: of an array, pass array.tolist()"
        ) from None
    named = {f"{name}{l}": x for l, layer in enumerate(params, 1) for name, x in zip("Wb", layer, strict=True)}
    write(path, MODEL, {**description(network), "extra": extra}, jax.tree.map(np.asarray, named))


def load(path: str | os.PathLike[str], network: Network | None = None, dtype: DTypeLike | None = None) -> Saved:
    """Load a model that `bp.save` wrote: its network, its parameters bit for bit, and `extra`. No code is run.

    Args:
        path: the file.
        network: the network that was saved; needed if it has an activation or a cost of your own.
        dtype: float32, float64 or bfloat16, to which the parameters are cast. By default they keep the dtype that they
            were saved in; for float64 this needs jax_enable_x64.

    Raises:
        SavedModelError: (a ValueError) the file is missing, damaged, of a later version or not a saved model; `network`
            is needed or does not match; or JAX would narrow float64 parameters.
        TypeError: `dtype` is none of the three, or `network` is not a `bp.Network`.

    Example:
        >>> import tempfile
        >>> network = bp.Network((4, 8, 3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     bp.save(f"{folder}/model.safetensors", network, bp.init(network, jax.random.key(0)), {"step": 7})
        ...     saved = bp.load(f"{folder}/model.safetensors")
        >>> saved.network == network, saved.extra
        (True, {'step': 7})
    """
    path = as_path("path", path)
    if network is not None:
        check_network(network)
    about, arrays = read(path, MODEL)
    with MODEL.reading(path, "content"):
        network = _network(path, about, network)
        parameters(network, _layers(network, arrays))
        if len(arrays) != 2 * len(network.activations) or not isinstance(about["extra"], dict):
            raise ValueError("it has more arrays than the network, or its extra is not a dict")
    names = {name: f"{name} in {shown(path, 120)}" for name in sorted(arrays)}
    found = {name: to_jax(text, arrays[name], dtype, SavedModelError) for name, text in names.items()}
    return Saved(network, _layers(network, found), about["extra"])


def to_jax(name: str, value: np.ndarray, dtype: DTypeLike | None, error: type[ValueError] = ValueError) -> jax.Array:
    """A copy in `dtype`, or with the dtype that it has; never one that JAX has narrowed unasked."""
    if dtype is not None:
        if np.dtype(dtype).name not in DTYPES:
            raise TypeError(f"dtype is {np.dtype(dtype)}; expected {', '.join(DTYPES)}")
        value = value.astype(dtype)
    # asarray could share memory that its owner goes on to write to
    array = jnp.array(value)
    if array.dtype != value.dtype:
        raise error(
            f"{name} has dtype {value.dtype}, and JAX would make it {array.dtype}: turn on 64 bits with "
            f'jax.config.update("jax_enable_x64", True), or pass dtype="{array.dtype}"'
        )
    return array


def description(network: Network) -> dict[str, Any]:
    """The network in terms of JSON: the library's activations and costs by name, others by the name of the function."""
    return {
        "sizes": list(network.sizes),
        "hidden": [_name(ACTIVATIONS, g, g.g) for g in network.hidden],
        "output": _name(ACTIVATIONS, network.output, network.output.g),
        "cost": _name({"cross_entropy": CROSS_ENTROPIES.get(network.output), **COSTS}, network.cost, network.cost.loss),
    }


def disagreement(saved: dict[str, Any], network: Network) -> str | None:
    """The first point in which the network differs from the description that was saved, in words."""
    for key, given in description(network).items():
        if saved[key] != given:
            return f"its network has {key} {shown(saved[key], 45)}; the one passed has {shown(given, 45)}"
    return None


def _name(known: dict[str, Any], value: Any, function: Any) -> str | dict[str, str]:
    # The repr of a function without a name has an address, another one in each process
    own = {"own": getattr(function, "__name__", type(function).__name__)}
    return next((name for name, of in known.items() if of == value), own)


def _network(path: Path, about: dict[str, Any], network: Network | None) -> Network:
    """The network that was saved: the one given, if it has the same description, or a new one."""
    if network is not None:
        if why := disagreement(about, network):
            raise SavedModelError(f"{shown(path, 120)} holds another model: {why}; pass the network that was saved")
        return network
    for value in (*about["hidden"], about["output"], about["cost"]):
        if isinstance(value, dict):
            raise SavedModelError(
                f"{shown(path, 100)} has a function of your own, {shown(repr(value.get('own')), 40)}, of which only "
                "the name is saved: pass the network that was saved, bp.load(path, network=...)"
            )
    return Network(about["sizes"], about["hidden"], about["output"], about["cost"])


def _layers(network: Network, arrays: Mapping[str, Any]) -> Params:
    return tuple(Layer(arrays[f"W{l}"], arrays[f"b{l}"]) for l in range(1, len(network.sizes)))
