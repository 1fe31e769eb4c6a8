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
from manual_bp._saving.read import ANEW, SavedModelError, read_model, read_weights
from manual_bp._saving.write import MODEL, write


class Saved(NamedTuple):
    """What `bp.load` returns: the network, its parameters, and what else was saved with them."""

    network: Network
    params: Params
    extra: dict[str, Any]


def save(path: str | os.PathLike[str], network: Network, params: Params, extra: dict[str, Any] | None = None) -> None:
    """Save a model as the directory `path`, which is on the disk when this returns.

    A saved model that is there already is replaced, all at once: a crash or a full disk at any moment leaves it as it
    was. One process at a time may save to a path.

    Args:
        path: the directory; made, with its parents, unless it is there.
        network: the description. Activations and costs of your own are saved by name only: `bp.load` then needs the
            description from you.
        params: its parameters, saved bit for bit.
        extra: what goes with the model, such as classes, names of features, means and scales: a dict that JSON gives
            back as it is (text keys; text, finite numbers, booleans, None, lists and dicts).

    Raises:
        FileExistsError: `path` is a file, or a directory of something else.
        TypeError: `extra` is not such a dict.
        ValueError, TypeError: the parameters are not those of the network.
        OSError: the disk is full, or `path` can't be written.
    """
    check_network(network)
    dtype = parameters(network, params)
    about = {**_description(network), "dtype": dtype.name, "extra": _as_json_has_it({} if extra is None else extra)}
    # Of a link, the directory it leads to: the link stays
    write(Path(os.path.realpath(path)), about, params)


def load(
    path: str | os.PathLike[str], network: Network | None = None, dtype: jax.typing.DTypeLike | None = None
) -> Saved:
    """Load what `bp.save` wrote, the parameters bit for bit. Nothing in the directory is run.

    Args:
        path: the directory.
        network: the description it was saved with; needed where that has an activation or a cost of your own.
        dtype: float32, float64 or bfloat16, to which the parameters are cast. Unless given they stay as they were
            saved, for which float64 needs jax_enable_x64.

    Returns:
        The network, its parameters, and `extra`, an empty dict where none was saved.

    Raises:
        SavedModelError: (a ValueError) there is no saved model, it is damaged, it is of a later version, its weights
            are not those of its network, `network` is needed or another one, or JAX would narrow its float64.
        TypeError: `dtype` is none of the three, or `network` not a `bp.Network`.
    """
    if network is not None:
        check_network(network)
    path = Path(path)
    model = read_model(path)
    resolved = _network(path, model) if network is None else _agreeing(path, model, network)
    try:
        arrays = read_weights(path, model, resolved.sizes)
    except FileNotFoundError as error:
        if read_model(path) != model:  # saved over since it was read
            return load(path, network, dtype)
        raise SavedModelError(f"{error.filename}, the weights of {MODEL}, is missing; {ANEW}") from None
    try:
        leaves = [to_jax(name, value, dtype) for name, value in arrays]
    except ValueError as error:
        raise SavedModelError(str(error)) from None
    return Saved(resolved, tuple(map(Layer, leaves[::2], leaves[1::2])), model["extra"])


def to_jax(name: str, value: np.ndarray, dtype: jax.typing.DTypeLike | None) -> jax.Array:
    """A copy in `dtype`, or as it is; never one that JAX has narrowed unasked."""
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


def _description(network: Network) -> dict[str, Any]:
    """The network as JSON has it."""
    cost = next((name for name, cost in COSTS.items() if cost == network.cost), None)
    if CROSS_ENTROPIES.get(network.output) == network.cost:
        cost = "cross_entropy"
    return {
        "sizes": list(network.sizes),
        "hidden": [_name(g) for g in network.hidden],
        "output": _name(network.output),
        "cost": cost or _own(network.cost.loss),
    }


def _name(activation: Activation) -> str | dict[str, str]:
    return next((name for name, g in ACTIVATIONS.items() if g == activation), None) or _own(activation.g)


def _own(function: Any) -> dict[str, str]:
    # The repr of what has no name has an address, another one in each process
    return {"own": getattr(function, "__name__", type(function).__name__)}


def _network(path: Path, model: dict[str, Any]) -> Network:
    """The network that model.json describes."""
    for value in (*model["hidden"], model["output"], model["cost"]):
        if isinstance(value, dict):
            raise SavedModelError(
                f"{path} has a function of your own, {value.get('own')!r}, which is saved by name only: pass the "
                "network it was saved with, load(path, network=...)"
            )
    try:
        return Network(model["sizes"], model["hidden"], model["output"], model["cost"])
    except (ValueError, TypeError) as error:
        raise SavedModelError(
            f"{path / MODEL}, written by manual_bp {model['manual_bp']}, describes no network of this version: {error}"
        ) from None


def _agreeing(path: Path, model: dict[str, Any], network: Network) -> Network:
    """The caller's network, which has to describe itself as the saved one did."""
    for key, given in _description(network).items():
        if model[key] != given:
            raise SavedModelError(
                f"network has {key} {given}; expected {model[key]}, as {path} has it: pass the network that was saved"
            )
    return network


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
