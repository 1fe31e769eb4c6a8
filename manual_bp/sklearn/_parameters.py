"""Checks of an estimator's parameters. As in scikit-learn, `fit` makes them, not `__init__`."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from manual_bp._activations import SIGMOID, Activation
from manual_bp._checks import numbers
from manual_bp._network import HIDDEN, resolve_activation
from manual_bp._training.loop import check_callbacks
from manual_bp._training.state import is_optimizer

# Parameters beyond scikit-learn's that have no meaning for L-BFGS, which has no epochs
NOT_LBFGS = ("dropout", "max_gradient_norm", "callbacks", "progress")
ACTIVATION_NAMES = [name if name != "sigmoid" else "logistic" for name in HIDDEN]


def check_parameters(mlp: Any) -> None:
    """Refuses values out of their ranges."""
    for name in ("alpha", "power_t", "tol"):
        numbers.non_negative(name, getattr(mlp, name))
    for name in ("learning_rate_init", "epsilon"):
        numbers.positive(name, getattr(mlp, name))
    if mlp.max_gradient_norm is not None:
        numbers.positive("max_gradient_norm", mlp.max_gradient_norm)
    for name in ("beta_1", "beta_2", "validation_fraction", "momentum"):
        value = numbers.non_negative(name, getattr(mlp, name))
        if value > 1 or (value == 1 and name != "momentum"):
            bound = "at most" if name == "momentum" else "below"
            raise ValueError(f"{name} is {value}; expected a number that is at least 0 and {bound} 1")
    for name in ("max_iter", "max_fun"):
        numbers.count(name, getattr(mlp, name))
    if mlp.batch_size != "auto":
        numbers.count("batch_size", mlp.batch_size, ", or 'auto'")
    if mlp.n_iter_no_change != np.inf:
        numbers.count("n_iter_no_change", mlp.n_iter_no_change, ", or np.inf")
    one_of("learning_rate", mlp.learning_rate, ("constant", "invscaling", "adaptive"))
    if mlp.dtype is not None:
        try:
            name = np.dtype(mlp.dtype).name
        except TypeError:
            name = mlp.dtype
        one_of("dtype", name, (None, "float32", "float64"))
    check_callbacks(mlp.callbacks or ())
    if isinstance(mlp.solver, str):
        one_of("solver", mlp.solver, ("adam", "sgd", "lbfgs"), ", or an optax optimizer")
    else:
        is_optimizer(mlp.solver, "solver")
    for name in NOT_LBFGS if is_lbfgs(mlp) else ():
        value = getattr(mlp, name)
        if value is not None and np.any(value):
            raise ValueError(f"solver is 'lbfgs', which does not support {name}; use adam, sgd or an optax optimizer")


def hidden_layers(mlp: Any) -> tuple[tuple[int, ...], list[Activation]]:
    """Returns the size and the activation of each hidden layer."""
    sizes = mlp.hidden_layer_sizes
    sizes = tuple(sizes) if np.iterable(sizes) else (sizes,)
    sizes = tuple(numbers.count(f"hidden_layer_sizes[{i}]", n) for i, n in enumerate(sizes))
    if isinstance(mlp.activation, str) or not np.iterable(mlp.activation):
        return sizes, [_activation(mlp.activation, "activation")] * len(sizes)
    activations = [_activation(g, f"activation[{i}]") for i, g in enumerate(mlp.activation)]
    if len(activations) != len(sizes):
        raise ValueError(f"activation has length {len(activations)}; expected {len(sizes)}, one for each hidden layer")
    return sizes, activations


def _activation(g: Any, where: str) -> Activation:
    return SIGMOID if isinstance(g, str) and g == "logistic" else resolve_activation(g, where, ACTIVATION_NAMES)


def is_lbfgs(mlp: Any) -> bool:
    return isinstance(mlp.solver, str) and mlp.solver == "lbfgs"


def one_of(name: str, value: Any, expected: Iterable[str | None], otherwise: str = "") -> None:
    """Refuses a name that is not among those expected; `otherwise` names other values that the message allows."""
    expected = tuple(expected)
    if value not in expected:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(map(str, expected))}{otherwise}")
