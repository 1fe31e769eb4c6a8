"""The examples that a user gives `fit`, checked and divided into those to train on and those held out."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from manual_bp._checks import arguments
from manual_bp._checks.example_values import check_values
from manual_bp._network import Network
from manual_bp._training.class_weight import with_class_weight
from manual_bp._training.dataset import Dataset
from manual_bp._training.state import TrainState

# An iterable of batches, or a function of the epoch that gives one
Batches = Iterable[Any] | Callable[[int], Iterable[Any]]


class Examples(NamedTuple):
    """What `fit` works on.

    Attributes:
        training: the examples, one after another, as the user's arrays hold them; or batches.
        validation: (X, Y, weights) in columns, on the device; or None.
    """

    training: Dataset | Batches
    validation: tuple[Any, Any, Any] | None


def examples(
    network: Network,
    X: Any,
    Y: Any,
    weights: Any,
    class_weight: Mapping[int, float] | str | None,
    validation_data: tuple | None,
    validation_fraction: float | None,
    state: TrainState,
) -> Examples:
    """The examples of the arguments of `bp.fit`."""
    if validation_data is not None and validation_fraction is not None:
        raise ValueError("validation_data and validation_fraction are both given; expected one of the two")
    dtype = state.params[0].W.dtype
    validation = None
    if validation_data is not None:
        given = _triple(validation_data)
        try:
            _check(network, *given)
        except (TypeError, ValueError) as error:
            raise type(error)(f"validation_data: {error}") from None
        validation = _columns(given, dtype)
    if not _is_array(X):
        return Examples(_batches(X, Y, weights, class_weight, validation_fraction), validation)
    _check(network, X, Y, weights)
    weights = with_class_weight(Y, weights, class_weight)
    if validation_fraction is not None:
        if isinstance(X, np.memmap):
            raise ValueError("validation_fraction would copy X, which is memory-mapped; expected validation_data")
        kept, held_out = _split(X.shape[1], validation_fraction, state)
        validation = _columns((_take(X, held_out), _take(Y, held_out), _take(weights, held_out)), dtype)
        X, Y, weights = (_take(x, kept) for x in (X, Y, weights))
    flat: Any = None if weights is None else np.ravel(weights)
    return Examples(Dataset(X.T, Y.T, flat), validation)


def _check(network: Network, X: Any, Y: Any, weights: Any) -> None:
    for name, value in {"X": X, "Y": Y, "weights": weights}.items():
        if not _is_array(value) and not (name == "weights" and value is None):
            raise TypeError(f"{name} is {arguments.a_kind(value)}; expected an array of NumPy or JAX")
    if X.ndim == 2 and Y.ndim in (1, 2) and X.shape[1] != Y.shape[-1]:
        hint = ", so pass X.T" if len(X) == Y.shape[-1] else ""
        raise ValueError(
            f"X has shape {X.shape} and Y {Y.shape}; expected (n_0, m), and (n_L, m) or (m,): columns are examples"
            + hint
        )
    arguments.examples(network, X, Y, weights)
    check_values(network, X, Y, weights)


def _batches(X: Any, Y: Any, weights: Any, class_weight: Any, validation_fraction: float | None) -> Any:
    if not (callable(X) or isinstance(X, Iterable)) or isinstance(X, str | Dataset) or _is_array(Y):
        raise TypeError(
            f"X is {arguments.a_kind(X)}; expected an array of NumPy or JAX, of shape (n_0, m), or without Y an "
            "iterable of batches (X, Y), or a function of the epoch that gives one"
        )
    beside = {"Y": Y, "weights": weights, "class_weight": class_weight, "validation_fraction": validation_fraction}
    for name, value in beside.items():
        if value is not None:
            raise ValueError(f"{name} is given, and X gives batches; expected batches (X, Y) or (X, Y, weights) alone")
    return X


def _split(m: int, fraction: float, state: TrainState) -> tuple[np.ndarray, np.ndarray]:
    """The examples to train on and those held out, at random, one of each at least."""
    if isinstance(fraction, bool | str) or not 0 < fraction < 1 or m < 2:
        raise ValueError(
            f"validation_fraction is {fraction!r} of {m} examples; expected a number between 0 and 1, and 2 examples"
        )
    order = np.asarray(jax.random.permutation(jax.random.fold_in(state.key, 2**32 - 2), m))
    held_out = min(max(1, round(fraction * m)), m - 1)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def _take(x: Any, columns: np.ndarray) -> Any:
    return None if x is None else np.ravel(x)[columns] if np.ndim(x) == 1 else x[:, columns]


def _triple(data: Any) -> tuple[Any, Any, Any]:
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise TypeError(f"validation_data is {arguments.a_kind(data)}; expected (X, Y) or (X, Y, weights)")
    return data[0], data[1], data[2] if len(data) == 3 else None


def _columns(data: tuple[Any, Any, Any], dtype: jnp.dtype) -> tuple[Any, Any, Any]:
    X, Y, weights = (cast_floats(x, dtype) for x in data)
    return jax.device_put((X, Y, weights))


def cast_floats(x: Any, dtype: jnp.dtype) -> Any:
    """Floats in the dtype of the parameters: what is kept on the device need not be wider."""
    return x.astype(dtype) if x is not None and jnp.issubdtype(x.dtype, jnp.floating) else x


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | jax.Array)
