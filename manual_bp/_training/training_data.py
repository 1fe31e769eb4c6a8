"""The examples given to `fit`, checked and divided into those to train on and those to validate with."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

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


def training_data(
    network: Network,
    X: Any,
    Y: Any,
    weights: Any,
    class_weight: Mapping[int, float] | str | None,
    validation_data: tuple | None,
    validation_fraction: float | None,
    state: TrainState,
) -> tuple[Dataset | Batches, tuple[Any, ...] | None]:
    """Return training examples in rows, not copied, or batches as given; and validation examples, placed, or None."""
    if validation_data is not None and validation_fraction is not None:
        raise ValueError("validation_data and validation_fraction are both given; expected one of the two")
    dtype = state.params[0].W.dtype
    validation = None
    if validation_data is not None:
        if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
            kind = arguments.a_kind(validation_data)
            raise TypeError(f"validation_data is {kind}; expected (X, Y) or (X, Y, weights)")
        given = (*validation_data, None)[:3]
        try:
            _check(network, *given)
        except (TypeError, ValueError) as error:
            raise type(error)(f"validation_data: {error}") from None
        validation = jax.device_put(jax.tree.map(lambda x: cast_floats(x, dtype), given))
    if not _is_array(X):
        _check_batches(X, Y, weights, class_weight, validation_fraction)
        return X, validation
    _check(network, X, Y, weights)
    weights = with_class_weight(Y, weights, class_weight)
    if validation_fraction is not None:
        if isinstance(X, np.memmap):
            raise ValueError("validation_fraction would copy X, which is memory-mapped; pass validation_data instead")
        m = X.shape[1]
        if isinstance(validation_fraction, bool | str) or not 0 < validation_fraction < 1 or m < 2:
            raise ValueError(
                f"validation_fraction is {validation_fraction!r}, and the number of examples is {m}; expected a number "
                "between 0 and 1, and 2 examples or more"
            )
        shuffled = np.asarray(jax.random.permutation(jax.random.fold_in(state.key, 2**32 - 2), m))
        size = min(max(1, round(validation_fraction * m)), m - 1)
        held_out, kept = np.sort(shuffled[:size]), np.sort(shuffled[size:])
        validation = jax.device_put(jax.tree.map(lambda x: cast_floats(x[..., held_out], dtype), (X, Y, weights)))
        X, Y, weights = jax.tree.map(lambda x: x[..., kept], (X, Y, weights))
    flat: Any = None if weights is None else np.ravel(weights)
    return Dataset(X.T, Y.T, flat), validation


def _check(network: Network, X: Any, Y: Any, weights: Any) -> None:
    for name, x in {"X": X, "Y": Y, **({} if weights is None else {"weights": weights})}.items():
        if not _is_array(x):
            raise TypeError(f"{name} is {arguments.a_kind(x)}; expected an array of NumPy or JAX{_hint(name, x)}")
        # bfloat16 is of kind V too, but has no fields
        kind = getattr(x.dtype, "kind", "")
        if kind in "Mm" or kind in "OSU" and name != "Y" or kind == "V" and x.dtype.names:
            raise TypeError(f"{name} has dtype {x.dtype}; expected numbers: encode text and dates, then .astype(float)")
    if X.ndim == 2 and Y.ndim in (1, 2) and X.shape[1] != Y.shape[-1]:
        hint = ", so pass X.T" if len(X) == Y.shape[-1] else ""
        raise ValueError(
            f"X has shape {X.shape} and Y {Y.shape}; expected (n_0, m), and (n_L, m) or (m,): columns are examples"
            + hint
        )
    arguments.examples(network, X, Y, weights)
    check_values(network, X, Y, weights)


def _hint(name: str, x: Any) -> str:
    """The call that turns a table or a sparse matrix, with examples in rows, into an array of columns."""
    if isinstance(x, Dataset):
        return "; a bp.Dataset is for bp.train_epoch: pass X and Y in columns"
    method = next((method for method in ("to_numpy", "toarray") if hasattr(x, method)), None)
    transpose = ".T" if getattr(x, "ndim", 1) == 2 else ""
    return f": pass {name}.{method}(){transpose}" if method else ""


def _check_batches(X: Any, Y: Any, weights: Any, class_weight: Any, validation_fraction: float | None) -> None:
    hint = _hint("X", X)
    if hint or not (callable(X) or isinstance(X, Iterable)) or isinstance(X, str) or _is_array(Y):
        hint = hint or ", or without Y an iterable of batches (X, Y), or a function of the epoch that returns one"
        raise TypeError(f"X is {arguments.a_kind(X)}; expected an array of NumPy or JAX{hint}")
    others = {"Y": Y, "weights": weights, "class_weight": class_weight, "validation_fraction": validation_fraction}
    for name, value in others.items():
        if value is not None:
            raise ValueError(f"{name} is given, but X gives batches; pass only batches (X, Y) or (X, Y, weights)")


def cast_floats(x: Any, dtype: jnp.dtype) -> Any:
    """Casts floats to the dtype of the parameters, so that wider ones take no memory on the device."""
    return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | jax.Array)
