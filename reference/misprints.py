"""Equations as they are misprinted in widely copied pages, in NumPy: each is a whole backward pass with one wrong line.

Columns are examples. Every product stands where the page has it, so that some are refused at most sizes. Sources:
course notes of a deep-learning specialisation and community transcripts of them; pages that take the bias sensitivity
of a chain of single neurons for that of the weight. The wrong line has a comment with what it should be.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference.published import sigmoid

Lines = dict[str, Any]
Arrays = Mapping[int, NDArray]


def forward(W: Arrays, b: Arrays, X: NDArray) -> tuple[dict[int, NDArray], dict[int, NDArray]]:
    """(Z, A) of tanh layers and a sigmoid output: W[l] and b[l] by l = 1, ..., L, and A[0] = X."""
    Z, A, L = {}, {0: X}, len(W)
    for l in range(1, L + 1):
        Z[l] = W[l] @ A[l - 1] + b[l]
        A[l] = np.tanh(Z[l]) if l < L else sigmoid(Z[l])
    return Z, A


def tanh_prime(Z: NDArray) -> NDArray:
    return 1 - np.tanh(Z) ** 2


def its_own_activation(params: Mapping[str, Arrays], X: NDArray, Y: NDArray) -> Lines:
    W, (Z, A) = params["W"], forward(params["W"], params["b"], X)
    m, L = X.shape[1], len(W)
    dZ, dW, db = {}, {}, {}
    dZ[L] = A[L] - Y
    dW[L] = 1 / m * dZ[L] @ A[L].T  # A[L - 1].T
    db[L] = 1 / m * np.sum(dZ[L], axis=1, keepdims=True)
    for l in range(L - 1, 0, -1):
        dZ[l] = W[l + 1].T @ dZ[l + 1] * tanh_prime(Z[l])
        dW[l] = 1 / m * dZ[l] @ A[l - 1].T
        db[l] = 1 / m * np.sum(dZ[l], axis=1, keepdims=True)
    return {"dZ": dZ, "dW": dW, "db": db}


def back_through_the_gradient(params: Mapping[str, Arrays], X: NDArray, Y: NDArray) -> Lines:
    W, (Z, A) = params["W"], forward(params["W"], params["b"], X)
    m, L = X.shape[1], len(W)
    dZ, dW, db = {}, {}, {}
    dZ[L] = A[L] - Y
    dW[L] = 1 / m * dZ[L] @ A[L - 1].T
    db[L] = 1 / m * np.sum(dZ[L], axis=1, keepdims=True)
    dZ[L - 1] = dW[L].T @ dZ[L] * tanh_prime(Z[L - 1])  # W[L].T
    for l in range(L - 1, 0, -1):
        dW[l] = 1 / m * dZ[l] @ A[l - 1].T
        db[l] = 1 / m * np.sum(dZ[l], axis=1, keepdims=True)
        if l > 1:
            dZ[l - 1] = W[l].T @ dZ[l] * tanh_prime(Z[l - 1])
    return {"dZ": dZ, "dW": dW, "db": db}


def both_in_every_layer(params: Mapping[str, Arrays], X: NDArray, Y: NDArray) -> Lines:
    """The two above as one page has them, for every layer."""
    W, (Z, A) = params["W"], forward(params["W"], params["b"], X)
    m, L = X.shape[1], len(W)
    dZ, dW, db = {}, {}, {}
    dZ[L] = A[L] - Y
    for l in range(L, 0, -1):
        dW[l] = 1 / m * dZ[l] @ A[l].T  # A[l - 1].T
        db[l] = 1 / m * np.sum(dZ[l], axis=1, keepdims=True)
        if l > 1:
            dZ[l - 1] = dW[l].T @ dZ[l] * tanh_prime(Z[l - 1])  # W[l].T
    return {"dZ": dZ, "dW": dW, "db": db}


def rows_for_columns(params: Mapping[str, Arrays], X: NDArray, Y: NDArray) -> Lines:
    W, (Z, A) = params["W"], forward(params["W"], params["b"], X)
    m, L = X.shape[1], len(W)
    delta, dW, db = {}, {}, {}
    delta[L] = A[L] - Y
    for l in range(L, 0, -1):
        dW[l] = 1 / m * A[l - 1].T @ delta[l]  # delta[l] @ A[l - 1].T
        db[l] = 1 / m * np.sum(delta[l], axis=1, keepdims=True)
        if l > 1:
            delta[l - 1] = W[l].T @ delta[l] * tanh_prime(Z[l - 1])
    return {"dZ": delta, "dW": dW, "db": db}


def summed_over_units(params: Mapping[str, Arrays], X: NDArray, Y: NDArray, keepdims: bool) -> Lines:
    W, (Z, A) = params["W"], forward(params["W"], params["b"], X)
    m, L = X.shape[1], len(W)
    delta, dW, db = {}, {}, {}
    delta[L] = A[L] - Y
    for l in range(L, 0, -1):
        dW[l] = 1 / m * delta[l] @ A[l - 1].T
        db[l] = 1 / m * np.sum(delta[l], axis=0, keepdims=keepdims)  # axis=1
        if l > 1:
            delta[l - 1] = W[l].T @ delta[l] * tanh_prime(Z[l - 1])
    return {"dZ": delta, "dW": dW, "db": db}


def product_with_the_gradient(params: Mapping[str, NDArray], X: NDArray, Y: NDArray) -> Lines:
    W1, b1, W2, b2 = (params[name] for name in ("W1", "b1", "W2", "b2"))
    m = X.shape[1]
    Z1 = W1 @ X + b1
    A1 = sigmoid(Z1)
    Z2 = W2 @ A1 + b2
    A2 = sigmoid(Z2)
    dZ2 = A2 - Y
    dW2 = 1 / m * dZ2 @ A1.T
    db2 = 1 / m * np.sum(dZ2, axis=1, keepdims=True)
    dZ1 = dW2 * dZ2 * (A1 * (1 - A1))  # W2.T @ dZ2 * ...
    dW1 = 1 / m * dZ1 @ X.T
    db1 = 1 / m * np.sum(dZ1, axis=1, keepdims=True)
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dZ1": dZ1, "dW1": dW1, "db1": db1}


def sign_lost(params: Mapping[str, NDArray], X: NDArray, Y: NDArray) -> Lines:
    W, b = params["W"], params["b"]
    m = X.shape[1]
    A = sigmoid(W @ X + b)
    dA = Y / A + (1 - Y) / (1 - A)  # -Y / A
    dZ = A - Y
    dW = 1 / m * dZ @ X.T
    db = 1 / m * np.sum(dZ, axis=1, keepdims=True)
    return {"dA": dA, "dZ": dZ, "dW": dW, "db": db}


def sign_lost_before_dz(params: Mapping[str, NDArray], X: NDArray, Y: NDArray) -> Lines:
    """The same, dZ being made of dA."""
    W, b = params["W"], params["b"]
    m = X.shape[1]
    A = sigmoid(W @ X + b)
    dA = Y / A + (1 - Y) / (1 - A)  # -Y / A
    dZ = dA * A * (1 - A)
    dW = 1 / m * dZ @ X.T
    db = 1 / m * np.sum(dZ, axis=1, keepdims=True)
    return {"dA": dA, "dZ": dZ, "dW": dW, "db": db}


def bias_for_weight(params: Mapping[str, Any], x: Any, y: Any) -> Lines:
    """A chain of single neurons under (a - y)^2: at the output, dC/db stands under the label dC/dw."""
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
