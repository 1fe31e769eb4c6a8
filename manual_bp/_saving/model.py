"""Save a model and load it again, bit for bit."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from manual_bp._activations import ACTIVATIONS, Activation
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
            from JSON as it is: text keys; text, finite numbers, booleans, None, lists and dicts.

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
    about = {**description(network), "extra": _as_json_has_it({} if extra is None else extra)}
    write(path, MODEL, about, dict(zip(_names(network), map(np.asarray, jax.tree.leaves(params)), strict=True)))


def load(
    path: str | os.PathLike[str], network: Network | None = None, dtype: jax.typing.DTypeLike | None = None
) -> Saved:
    """Load a model that `bp.save` wrote, the parameters bit for bit. Nothing in the file is run.

    Args:
        path: the file.
        network: the network that was saved; needed if it has an activation or a cost of your own.
        dtype: float32, float64 or bfloat16, to which the parameters are cast. By default they keep the dtype that they
            were saved in; for float64 this needs jax_enable_x64.

    Returns:
        The network, its parameters, and `extra`, which is an empty dict if none was saved.

    Raises:
        SavedModelError: (a ValueError) the file is missing, damaged, of a later version or not a saved model; `network`
            is needed or another one; or JAX would narrow float64 parameters.
        TypeError: `dtype` is none of the three, or `network` not a `bp.Network`.

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
    try:
        network = _network(path, about, network)
        parameters(network, _layers([arrays[name] for name in _names(network)]))
        if len(arrays) != 2 * len(network.activations) or not isinstance(about["extra"], dict):
            raise ValueError("it has more arrays than the network, or its extra is not a dict")
    except SavedModelError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise MODEL.refusal(path, f"cannot be used ({shown(error, 100)})") from None
    try:
        leaves = [to_jax(f"{name} in {shown(path, 120)}", arrays[name], dtype) for name in _names(network)]
    except ValueError as error:
        raise SavedModelError(str(error)) from None
    return Saved(network, _layers(leaves), about["extra"])


def to_jax(name: str, value: np.ndarray, dtype: jax.typing.DTypeLike | None) -> jax.Array:
    """A copy in `dtype`, or with the dtype that it has; never one that JAX has narrowed unasked."""
    if dtype is not None:
        if np.dtype(dtype).name not in DTYPES:
            raise TypeError(f"dtype is {np.dtype(dtype)}; expected {', '.join(DTYPES)}")
        value = value.astype(dtype)
    # asarray could share memory that its owner goes on to write to
    array = jnp.array(value)
    if array.dtype != value.dtype:
        raise ValueError(
            f"{name} has dtype {value.dtype}, and JAX would make it {array.dtype}: turn on 64 bits with "
            f'jax.config.update("jax_enable_x64", True), or pass dtype="{array.dtype}"'
        )
    return array


def description(network: Network) -> dict[str, Any]:
    """The network in terms of JSON: its own activations and costs by name, other ones by the name of their function."""
    cost = next((name for name, cost in COSTS.items() if cost == network.cost), None)
    if CROSS_ENTROPIES.get(network.output) == network.cost:
        cost = "cross_entropy"
    return {
        "sizes": list(network.sizes),
        "hidden": [_name(g) for g in network.hidden],
        "output": _name(network.output),
        "cost": cost or _own(network.cost.loss),
    }


def disagreement(saved: dict[str, Any], network: Network) -> str | None:
    """The first point in which the network does not have the description that was saved, in words."""
    for key, given in description(network).items():
        if saved[key] != given:
            return f"network has {key} {shown(given, 45)}; expected {shown(saved[key], 45)}"
    return None


def _name(activation: Activation) -> str | dict[str, str]:
    return next((name for name, g in ACTIVATIONS.items() if g == activation), None) or _own(activation.g)


def _own(function: Any) -> dict[str, str]:
    # The repr of a function without a name has an address, another one in each process
    return {"own": getattr(function, "__name__", type(function).__name__)}


def _network(path: Path, about: dict[str, Any], network: Network | None) -> Network:
    """The network that was saved: the one given, if it has the same description, or a new one."""
    if network is not None:
        if why := disagreement(about, network):
            raise SavedModelError(f"{why}, as {shown(path, 120)} has it: pass the network that was saved")
        return network
    for value in (*about["hidden"], about["output"], about["cost"]):
        if isinstance(value, dict):
            raise SavedModelError(
                f"{shown(path, 100)} has a function of your own, {shown(repr(value.get('own')), 40)}, of which only "
                "the name is saved: pass the network that was saved, bp.load(path, network=...)"
            )
    return Network(about["sizes"], about["hidden"], about["output"], about["cost"])


def _names(network: Network) -> list[str]:
    """The names of the arrays, W1, b1, W2, ..., in the order of the leaves of params."""
    return [f"{name}{l}" for l in range(1, len(network.sizes)) for name in "Wb"]


def _layers(leaves: list[Any]) -> Params:
    return tuple(map(Layer, leaves[::2], leaves[1::2]))


def _as_json_has_it(extra: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(extra, dict):
        raise TypeError(f"extra is {a_kind(extra)}; expected a dict")
    try:
        again = json.loads(json.dumps(extra, allow_nan=False))
        reason = "" if again == extra else "tuples would come back as lists, and keys as text"
    except (ValueError, TypeError, RecursionError) as error:
        reason = str(error)
    if reason:
        raise TypeError(
            f"extra would not come back from JSON as it is: {reason}; expected text keys, and text, finite numbers, "
            "booleans, None, lists or dicts: of an array, pass array.tolist()"
        )
    return extra
