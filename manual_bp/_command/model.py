"""A network with what it takes to use it on data as they stand in a file."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

import manual_bp as bp
from manual_bp._command.errors import InputError
from manual_bp._command.split import Scaling
from manual_bp._command.table import Table

# Examples that are predicted at a time
BLOCK = 8192


@dataclasses.dataclass(frozen=True)
class Model:
    """A trained network, and what was true of the data it was trained on.

    Attributes:
        classes: the labels, in the order of the outputs; None where the targets are values.
        features: the names of the features, or None.
        target: the name of the target, or None.
        inputs: the scaling of the features.
        outputs: that of the targets, None where they are classes.
        training: how it was trained; "stopped" is None until that has ended.
    """

    network: bp.Network
    params: bp.Params
    classes: list[Any] | None
    features: list[str] | None
    target: str | None
    inputs: Scaling
    outputs: Scaling | None
    training: dict[str, Any]


def save(path: str, model: Model) -> None:
    extra = {name: getattr(model, name) for name in ("classes", "features", "target", "training")}
    for name in ("inputs", "outputs"):
        scaling = getattr(model, name)
        extra[name] = scaling and {key: value.tolist() for key, value in scaling._asdict().items()}
    bp.save(path, model.network, model.params, extra)


def load(path: str) -> Model:
    """The model that `save` wrote.

    Raises:
        SavedModelError: there is none, or it is damaged.
        InputError: it is one that this command did not save.
    """
    network, params, extra = bp.load(path)
    try:
        model = _with(network, params, extra)
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{path} holds a network without the scaling of its data and the names of its classes; expected a model "
            "that python -m manual_bp train --out saved"
        ) from None
    return model


def _with(network: bp.Network, params: bp.Params, extra: dict[str, Any]) -> Model:
    for name in ("inputs", "outputs"):
        scaling = extra[name]
        if scaling is not None:
            scaling = Scaling(*(np.array(scaling[key], np.float64) for key in Scaling._fields))
        extra = {**extra, name: scaling}
    model = Model(network, params, **extra)
    n_0, n_L = network.sizes[0], network.sizes[-1]
    fits = (
        all(values.shape == (n_0,) for values in model.inputs),
        model.features is None or len(model.features) == n_0,
        n_L == (1 if model.classes is None else len(model.classes)),
        (model.outputs is None) == (model.classes is not None),
        isinstance(model.training, dict),
    )
    if not all(fits):
        raise ValueError
    return model


def trained(path: str) -> Model:
    """The model, if its training has ended."""
    model = load(path)
    if model.training.get("stopped") is None:
        raise InputError(
            f"{path}: the training has not ended; go on with it first: python -m manual_bp train --out {path} "
            "--resume, and the options it was started with"
        )
    return model


def scaled(model: Model, table: Table) -> np.ndarray:
    """The features as the network takes them, shape (n_0, m), float32."""
    with np.errstate(over="ignore"):
        return model.inputs(table.X).astype(np.float32).T


def outputs(model: Model, table: Table) -> np.ndarray:
    """What the network makes of the examples, shape (n_L, m)."""
    X = scaled(model, table)
    blocks = [X[:, i : i + BLOCK] for i in range(0, X.shape[1], BLOCK)]
    A = np.concatenate([bp.predict(model.network, model.params, jnp.asarray(block)) for block in blocks], axis=1)
    lost = ~np.isfinite(A).all(axis=0)
    if lost.any():
        i = int(np.argmax(lost))
        j = int(np.argmax(np.abs(X[:, i])))
        raise InputError(f"{table.place(i, j)}: {table.X[i, j]:g} is too far from what the model was trained on")
    return A
