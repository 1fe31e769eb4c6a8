"""The backward pass of scikit-learn for regression, a private method of MLPRegressor, and the loss that it returns.

Examples are rows, and coefs[i] is (n_in, n_out). The loss is half the squared error, averaged over examples **and
outputs**, plus alpha / 2 times the sum of the squared weights over the number of examples. The gradient starts from
a - y and averages over examples only, so it is n_outputs times the derivative of the squared error (issue 8349, open in
1.9). The regulariser's term has no such factor.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from numpy.typing import NDArray

from reference.finite_differences import central_differences

Params = Mapping[str, Sequence[Any]]


def version() -> str:
    """Return the version, or raise ModuleNotFoundError if scikit-learn is not installed."""
    import sklearn

    return sklearn.__version__


def loss_and_gradient(params: Params, X: NDArray, y: NDArray, alpha: float) -> tuple[float, Params]:
    """Return the result of MLPRegressor._backprop at these parameters, with tanh hidden layers."""
    from sklearn.neural_network import MLPRegressor

    coefs, intercepts = list(params["coefs"]), list(params["intercepts"])
    hidden, L = [len(b) for b in intercepts[:-1]], len(coefs)
    regressor: Any = MLPRegressor(hidden_layer_sizes=hidden, activation="tanh", solver="sgd", alpha=alpha)
    regressor.partial_fit(X, y)  # makes the attributes that _backprop reads
    regressor.coefs_, regressor.intercepts_ = coefs, intercepts
    loss, *gradient = regressor._backprop(X, y, None, [X, *[None] * L], *([None] * L for _ in range(3)))
    return float(loss), dict(zip(("coefs", "intercepts"), gradient, strict=True))


def gradient(params: Params, X: NDArray, y: NDArray, alpha: float) -> Params:
    return loss_and_gradient(params, X, y, alpha)[1]


def gradient_over_difference(params: Params, X: NDArray, y: NDArray, alpha: float) -> float:
    """Divide its gradient by an output's intercept by the central difference of its loss."""
    *before, last = params["intercepts"]

    def loss(b: NDArray) -> float:
        return loss_and_gradient({**params, "intercepts": [*before, b]}, X, y, alpha)[0]

    return gradient(params, X, y, alpha)["intercepts"][-1][0] / central_differences(loss, last)[0]


def cost(params: Params, X: Any, y: Any, tap: Callable, *, alpha: float) -> Any:
    """Compute the loss that it returns, in JAX."""
    A, L = X, len(params["coefs"])
    for l, (W, b) in enumerate(zip(params["coefs"], params["intercepts"], strict=True), start=1):
        Z = tap(f"Z{l}", A @ W + b)
        A = tap(f"A{l}", jnp.tanh(Z)) if l < L else Z
    return jnp.mean((A - y) ** 2) / 2 + alpha / 2 * sum(jnp.sum(W**2) for W in params["coefs"]) / len(X)
