"""Published systems of equations, as they are printed, in NumPy.

Columns are examples, and the products are written as on the page. A function returns what its page defines, under the
same names. Sources: A. Ng, Neural Networks and Deep Learning, course notes (logistic regression, the two-layer
and the L-layer network, with 1/m taken at dW and db); 3Blue1Brown, Backpropagation calculus (the squared error neuron
by neuron, with 2(a - y) at the output).
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Function = Callable[[NDArray], NDArray]


def sigmoid(z: NDArray) -> NDArray:
    return 1 / (1 + np.exp(-z))


def sigmoid_prime(z: NDArray) -> NDArray:
    return sigmoid(z) * (1 - sigmoid(z))


def tanh_prime(z: NDArray) -> NDArray:
    return 1 - np.tanh(z) ** 2


def logistic_regression(W: NDArray, b: NDArray, X: NDArray, Y: NDArray) -> dict[str, NDArray]:
    """Differentiate the binary cross-entropy of one sigmoid unit for one example: X is (n_x, 1), Y (1, 1)."""
    Z = W @ X + b
    A = sigmoid(Z)
    dA = -Y / A + (1 - Y) / (1 - A)
    dZ = A - Y
    dW = dZ @ X.T
    db = dZ
    return {"Z": Z, "A": A, "dA": dA, "dZ": dZ, "dW": dW, "db": db}


def logistic_regression_vectorised(W: NDArray, b: NDArray, X: NDArray, Y: NDArray) -> dict[str, NDArray]:
    """Differentiate the same for m examples: X is (n_x, m), Y (1, m)."""
    m = X.shape[1]
    Z = W @ X + b
    A = sigmoid(Z)
    dA = -Y / A + (1 - Y) / (1 - A)
    dZ = A - Y
    dW = 1 / m * dZ @ X.T
    db = 1 / m * np.sum(dZ, axis=1, keepdims=True)
    return {"Z": Z, "A": A, "dA": dA, "dZ": dZ, "dW": dW, "db": db}


def two_layers(
    W1: NDArray, b1: NDArray, W2: NDArray, b2: NDArray, x: NDArray, y: NDArray, g1: Function, g1_prime: Function
) -> dict[str, NDArray]:
    """Compute the six equations of a network with one hidden layer and a sigmoid output, for one example."""
    z1 = W1 @ x + b1
    a1 = g1(z1)
    z2 = W2 @ a1 + b2
    a2 = sigmoid(z2)
    dz2 = a2 - y
    dW2 = dz2 @ a1.T
    db2 = dz2
    dz1 = W2.T @ dz2 * g1_prime(z1)
    dW1 = dz1 @ x.T
    db1 = dz1
    return {"dz2": dz2, "dW2": dW2, "db2": db2, "dz1": dz1, "dW1": dW1, "db1": db1}


def two_layers_vectorised(
    W1: NDArray, b1: NDArray, W2: NDArray, b2: NDArray, X: NDArray, Y: NDArray, g1: Function, g1_prime: Function
) -> dict[str, NDArray]:
    """Compute the same six equations for m examples."""
    m = X.shape[1]
    Z1 = W1 @ X + b1
    A1 = g1(Z1)
    Z2 = W2 @ A1 + b2
    A2 = sigmoid(Z2)
    dZ2 = A2 - Y
    dW2 = 1 / m * dZ2 @ A1.T
    db2 = 1 / m * np.sum(dZ2, axis=1, keepdims=True)
    dZ1 = W2.T @ dZ2 * g1_prime(Z1)
    dW1 = 1 / m * dZ1 @ X.T
    db1 = 1 / m * np.sum(dZ1, axis=1, keepdims=True)
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dZ1": dZ1, "dW1": dW1, "db1": db1}


def deep_network(
    params: Sequence[tuple[NDArray, NDArray]],
    X: NDArray,
    Y: NDArray,
    g: Sequence[tuple[Function, Function]],
    dA_L: Callable,
) -> dict[str, NDArray]:
    """Differentiate L layers with any activations: g[l-1] is (g[l], g[l]'), and dA_L(A[L], Y) the loss's derivative."""
    m, L = X.shape[1], len(params)
    q = {"A0": X}
    for l in range(1, L + 1):
        W, b = params[l - 1]
        q[f"Z{l}"] = W @ q[f"A{l - 1}"] + b
        q[f"A{l}"] = g[l - 1][0](q[f"Z{l}"])
    q[f"dA{L}"] = dA_L(q[f"A{L}"], Y)
    for l in range(L, 0, -1):
        W, _ = params[l - 1]
        q[f"dZ{l}"] = q[f"dA{l}"] * g[l - 1][1](q[f"Z{l}"])
        q[f"dW{l}"] = 1 / m * q[f"dZ{l}"] @ q[f"A{l - 1}"].T
        q[f"db{l}"] = 1 / m * np.sum(q[f"dZ{l}"], axis=1, keepdims=True)
        q[f"dA{l - 1}"] = W.T @ q[f"dZ{l}"]
    return q


def one_neuron_per_layer(
    w: Sequence[float], b: Sequence[float], x: float, y: float, s: Callable, s_prime: Callable
) -> list[float]:
    """Return [dC/dw_1, dC/db_1, ..., dC/dw_L, dC/db_L] of a chain of single neurons under (a - y)^2, for one example.

    dC/dw = a_before s'(z) dC/da, dC/db = s'(z) dC/da, dC/da_before = w s'(z) dC/da, and dC/da = 2 (a - y) at the end.
    """
    a, z = [x], []
    for w_l, b_l in zip(w, b, strict=True):
        z.append(w_l * a[-1] + b_l)
        a.append(s(z[-1]))
    dC_da = 2 * (a[-1] - y)
    gradient: list[float] = []
    for l in reversed(range(len(w))):
        gradient = [a[l] * s_prime(z[l]) * dC_da, s_prime(z[l]) * dC_da, *gradient]
        dC_da = w[l] * s_prime(z[l]) * dC_da
    return gradient
