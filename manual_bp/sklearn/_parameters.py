"""Checks of an estimator's parameters; as in scikit-learn, fit makes them."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from manual_bp._activations import Activation
from manual_bp._checks import arguments, numbers
from manual_bp._training.state import is_optimizer
from manual_bp.sklearn._solver import SOLVERS
from manual_bp.sklearn._stopping import SCHEDULES

# Parameters beyond scikit-learn's that have no meaning for L-BFGS, which is one program over all examples
NOT_LBFGS = ("dropout", "max_gradient_norm", "callbacks", "progress")
DTYPES = (None, "float32", "float64")


def check_parameters(mlp: Any) -> None:
    """Refuses values out of their ranges."""
    for name in ("alpha", "power_t", "tol"):
        numbers.non_negative(name, getattr(mlp, name))
    for name in ("learning_rate_init", "epsilon", *(["max_gradient_norm"] * (mlp.max_gradient_norm is not None))):
        numbers.positive(name, getattr(mlp, name))
    for name, below in (("beta_1", True), ("beta_2", True), ("validation_fraction", True), ("momentum", False)):
        value = numbers.non_negative(name, getattr(mlp, name))
        if value > 1 or (value == 1 and below):
            raise ValueError(
                f"{name} is {value}; expected a number that is at least 0 and {'below' if below else 'at most'} 1"
            )
    counts = ["max_iter", "max_fun"]
    counts += ["batch_size"] * (mlp.batch_size != "auto") + ["n_iter_no_change"] * (mlp.n_iter_no_change != math.inf)
    for name in counts:
        numbers.count(name, getattr(mlp, name))
    one_of("learning_rate", mlp.learning_rate, SCHEDULES)
    if mlp.dtype is not None:
        try:
            name = np.dtype(mlp.dtype).name
        except TypeError:
            name = mlp.dtype
        one_of("dtype", name, DTYPES)
    for callback in mlp.callbacks or ():
        if not callable(callback):
            raise TypeError(f"callbacks has {arguments.a_kind(callback)}; expected functions of a bp.Epoch")
    _solver(mlp)


def hidden_layers(mlp: Any) -> tuple[tuple[int, ...], Any]:
    """The sizes of the hidden layers, and the activation of each under the library's name."""
    sizes = mlp.hidden_layer_sizes
    sizes = tuple(sizes) if np.iterable(sizes) else (sizes,)
    sizes = tuple(numbers.count(f"hidden_layer_sizes[{i}]", n) for i, n in enumerate(sizes))
    activations = mlp.activation
    if isinstance(activations, str | Activation):
        activations = [activations] * len(sizes)
    if not np.iterable(activations):
        # bp.Network refuses them
        return sizes, activations
    return sizes, ["sigmoid" if isinstance(g, str) and g == "logistic" else g for g in activations]


def _solver(mlp: Any) -> None:
    if isinstance(mlp.solver, str):
        one_of("solver", mlp.solver, (*SOLVERS, "lbfgs"))
    else:
        is_optimizer(mlp.solver)
    if is_lbfgs(mlp):
        for name in NOT_LBFGS:
            value = getattr(mlp, name)
            if value is not None and np.any(value):
                raise ValueError(
                    f"solver is 'lbfgs', which does not support {name}; use adam, sgd or an optax optimizer"
                )


def is_lbfgs(mlp: Any) -> bool:
    return isinstance(mlp.solver, str) and mlp.solver == "lbfgs"


def one_of(name: str, value: Any, expected: Iterable[str | None]) -> None:
    """Refuses a name that is not among those expected."""
    expected = tuple(expected)
    if value not in expected:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(map(str, expected))}")
