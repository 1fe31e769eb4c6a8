"""Equations as they are misprinted in widely copied pages, in NumPy: whole backward passes with one wrong line.

Columns are examples. The products are written as on the page, so shapes refuse some of them at most sizes. Sources:
course notes of a deep-learning specialisation and community transcripts of them; pages that give the bias sensitivity
of a chain of single neurons as that of the weight. A comment gives the right equation.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference.checker_proof.published_equations import sigmoid, sigmoid_prime, tanh_prime, two_layers_vectorised

Lines = dict[str, Any]
ByLayer = Mapping[int, NDArray]


def forward_by_layer(W: ByLayer, b: ByLayer, X: NDArray) -> tuple[dict[int, NDArray], dict[int, NDArray]]:
    """Return Z and A of tanh layers and a sigmoid output, given W[l] and b[l] for l = 1, ..., L."""
    Z, A, L = {}, {0: X}, len(W)
    for l in range(1, L + 1):
        Z[l] = W[l] @ A[l - 1] + b[l]
        A[l] = np.tanh(Z[l]) if l < L else sigmoid(Z[l])
    return Z, A


def backward_by_layer(
    params: Mapping[str, ByLayer],
    X: NDArray,
    Y: NDArray,
    *,
    make_dW: Callable = lambda l, L, dZ, A: dZ[l] @ A[l - 1].T,
    make_db: Callable = lambda dZ: np.sum(dZ, axis=1, keepdims=True),
    make_dA: Callable = lambda l, L, W, dW, dZ: W[l].T @ dZ[l],
) -> Lines:
    """Return the lines of a pass that is right, except for an equation that is given."""
    W, (Z, A) = params["W"], forward_by_layer(params["W"], params["b"], X)
    m, L = X.shape[1], len(W)
    dZ, dW, db = {L: A[L] - Y}, {}, {}
    for l in range(L, 0, -1):
        dW[l] = 1 / m * make_dW(l, L, dZ, A)
        db[l] = 1 / m * make_db(dZ[l])
        if l > 1:
            dZ[l - 1] = make_dA(l, L, W, dW, dZ) * tanh_prime(Z[l - 1])
    return {"dZ": dZ, "dW": dW, "db": db}


def its_own_activation(params: Mapping[str, ByLayer], X: NDArray, Y: NDArray) -> Lines:
    # right: A[l - 1].T in every layer
    return backward_by_layer(params, X, Y, make_dW=lambda l, L, dZ, A: dZ[l] @ A[l if l == L else l - 1].T)


def back_through_the_gradient(params: Mapping[str, ByLayer], X: NDArray, Y: NDArray) -> Lines:
    # right: W[l].T in every layer
    return backward_by_layer(params, X, Y, make_dA=lambda l, L, W, dW, dZ: (dW[l] if l == L else W[l]).T @ dZ[l])


def both_in_every_layer(params: Mapping[str, ByLayer], X: NDArray, Y: NDArray) -> Lines:
    """Return the lines with both mistakes above in every layer, as on one page."""
    own, gradient = lambda l, L, dZ, A: dZ[l] @ A[l].T, lambda l, L, W, dW, dZ: dW[l].T @ dZ[l]
    return backward_by_layer(params, X, Y, make_dW=own, make_dA=gradient)


def summed_over_units(params: Mapping[str, ByLayer], X: NDArray, Y: NDArray, keepdims: bool) -> Lines:
    # right: axis=1
    return backward_by_layer(params, X, Y, make_db=lambda dZ: np.sum(dZ, axis=0, keepdims=keepdims))


def rows_for_columns(params: Mapping[str, ByLayer], X: NDArray, Y: NDArray) -> Lines:
    """Return the lines, or raise in the misprinted line itself, which the checker then quotes."""
    W, (Z, A) = params["W"], forward_by_layer(params["W"], params["b"], X)
    m, L = X.shape[1], len(W)
    delta, dW, db = {L: A[L] - Y}, {}, {}
    for l in range(L, 0, -1):
        dW[l] = 1 / m * A[l - 1].T @ delta[l]  # delta[l] @ A[l - 1].T
        db[l] = 1 / m * np.sum(delta[l], axis=1, keepdims=True)
        if l > 1:
            delta[l - 1] = W[l].T @ delta[l] * tanh_prime(Z[l - 1])
    return {"dZ": delta, "dW": dW, "db": db}


def product_with_the_gradient(params: Mapping[str, NDArray], X: NDArray, Y: NDArray) -> Lines:
    W1, b1, W2, b2 = (params[name] for name in ("W1", "b1", "W2", "b2"))
    dZ2, dW2, db2, *_ = two_layers_vectorised(W1, b1, W2, b2, X, Y, sigmoid, sigmoid_prime).values()
    m, Z1 = X.shape[1], W1 @ X + b1
    dZ1 = dW2 * dZ2 * sigmoid_prime(Z1)  # W2.T @ dZ2 * ...
    dW1 = 1 / m * dZ1 @ X.T
    db1 = 1 / m * np.sum(dZ1, axis=1, keepdims=True)
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dZ1": dZ1, "dW1": dW1, "db1": db1}


def sign_lost(params: Mapping[str, NDArray], X: NDArray, Y: NDArray, collapsed: bool) -> Lines:
    """Return the lines with dZ = A - Y if `collapsed`, or with dZ computed from the wrong dA."""
    m, A = X.shape[1], sigmoid(params["W"] @ X + params["b"])
    dA = Y / A + (1 - Y) / (1 - A)  # -Y / A
    dZ = A - Y if collapsed else dA * A * (1 - A)
    dW = 1 / m * dZ @ X.T
    db = 1 / m * np.sum(dZ, axis=1, keepdims=True)
    return {"dA": dA, "dZ": dZ, "dW": dW, "db": db}


def bias_for_weight(params: Mapping[str, Any], x: Any, y: Any) -> Lines:
    """Return the lines of a chain of single neurons under (a - y)^2, with dC/db at the output labelled dC/dw."""
    w1, b1, w2, b2 = (params[name] for name in ("w1", "b1", "w2", "b2"))
    z1 = w1 * x + b1
    a1 = sigmoid(z1)
    z2 = w2 * a1 + b2
    a2 = sigmoid(z2)
    da2 = 2 * (a2 - y)
    dw2 = a2 * (1 - a2) * da2  # a1 * ...
    db2 = a2 * (1 - a2) * da2
    da1 = w2 * a2 * (1 - a2) * da2
    dw1 = x * a1 * (1 - a1) * da1
    db1 = a1 * (1 - a1) * da1
    return {"da2": da2, "dw2": dw2, "db2": db2, "da1": da1, "dw1": dw1, "db1": db1}
