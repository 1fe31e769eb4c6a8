"""The oracle by scalar loops: the equations of single neurons, one number at a time, in NumPy float64.

With s for the activation of a layer, z_j = sum_k w_jk a_k + b_j and a_j = s(z_j):

    dC/dw_jk = a_k s'(z_j) dC/da_j      dC/db_j = s'(z_j) dC/da_j      dC/da_k = sum_j w_jk s'(z_j) dC/da_j

and dC/da_j = 2(a_j - y_j) at the output for the squared error. The gradient is the average over examples.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reference.autodiff import Model

Params = Sequence[tuple[NDArray, NDArray]]

_C, _K = math.sqrt(2 / math.pi), 0.044715


def _sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def _gelu_prime(z: float) -> float:
    t = math.tanh(_C * (z + _K * z**3))
    return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * _C * (1 + 3 * _K * z * z)


# s and s' of one weighted input
SCALAR = {
    "identity": (lambda z: z, lambda z: 1.0),
    "sigmoid": (_sigmoid, lambda z: _sigmoid(z) * _sigmoid(-z)),
    "tanh": (math.tanh, lambda z: 1 / math.cosh(z) ** 2),
    "relu": (lambda z: max(z, 0.0), lambda z: 1.0 if z > 0 else 0.0),
    "leaky_relu": (lambda z: z if z >= 0 else 0.01 * z, lambda z: 1.0 if z >= 0 else 0.01),
    "elu": (lambda z: z if z > 0 else math.expm1(z), lambda z: 1.0 if z > 0 else math.exp(z)),
    "softplus": (lambda z: math.log1p(math.exp(-abs(z))) + max(z, 0.0), _sigmoid),
    "silu": (lambda z: z * _sigmoid(z), lambda z: _sigmoid(z) * (1 + z * _sigmoid(-z))),
    "gelu": (lambda z: 0.5 * z * (1 + math.tanh(_C * (z + _K * z**3))), _gelu_prime),
}


def cost_and_gradient(
    model: Model, params: Params, X: NDArray, Y: NDArray, weights: NDArray | None = None
) -> tuple[float, list[tuple[NDArray, NDArray]], NDArray]:
    """Compute the cost, (dW, db) of every layer, and dX, with the terms of example i times w_i."""
    m = X.shape[1]
    w = np.full(m, 1 / m) if weights is None else np.ravel(weights) / np.sum(weights)
    C = 0.0
    grads = [(np.zeros_like(W), np.zeros_like(b)) for W, b in params]
    dX = np.zeros_like(X)
    for i in range(m):
        z, a = _forward(model, params, X[:, i])
        loss, dz = _output(model, z[-1], a[-1], Y[:, i])
        C += w[i] * loss
        for layer in reversed(range(len(params))):
            W, _ = params[layer]
            dW, db = grads[layer]
            n, n_before = W.shape
            for j in range(n):
                for k in range(n_before):
                    dW[j, k] += w[i] * a[layer][k] * dz[j]
                db[j, 0] += w[i] * dz[j]
            da = [sum(W[j, k] * dz[j] for j in range(n)) for k in range(n_before)]
            if layer > 0:
                s_prime = SCALAR[model.activations[layer - 1]][1]
                dz = [s_prime(z[layer - 1][k]) * da[k] for k in range(n_before)]
            else:
                dX[:, i] = [w[i] * d for d in da]
    return C, grads, dX


def _forward(model: Model, params: Params, x: NDArray) -> tuple[list[list[float]], list[list[float]]]:
    """Compute z of every layer, and a of the inputs and every layer."""
    z, a = [], [[float(v) for v in x]]
    for g, (W, b) in zip(model.activations, params, strict=True):
        n, n_before = W.shape
        z.append([sum(W[j, k] * a[-1][k] for k in range(n_before)) + b[j, 0] for j in range(n)])
        a.append(_softmax(z[-1]) if g == "softmax" else [SCALAR[g][0](v) for v in z[-1]])
    return z, a


def _softmax(z: list[float]) -> list[float]:
    e = [math.exp(v - max(z)) for v in z]
    return [v / sum(e) for v in e]


def _output(model: Model, z: list[float], a: list[float], y: NDArray) -> tuple[float, list[float]]:
    """Compute the loss of one example and its derivative by z[L]."""
    n = range(len(a))
    if model.cost == "squared_error":
        loss, da = sum((a[j] - y[j]) ** 2 for j in n), [2 * (a[j] - y[j]) for j in n]
    elif model.cost == "absolute_error":
        loss, da = sum(abs(a[j] - y[j]) for j in n), [math.copysign(1, a[j] - y[j]) if a[j] != y[j] else 0 for j in n]
    elif model.output == "sigmoid":
        # 1 - a = s(-z)
        q = [_sigmoid(-z[j]) for j in n]
        loss = -sum(y[j] * math.log(a[j]) + (1 - y[j]) * math.log(q[j]) for j in n)
        da = [-y[j] / a[j] + (1 - y[j]) / q[j] for j in n]
    else:
        loss, da = -sum(y[j] * math.log(a[j]) for j in n), [-y[j] / a[j] for j in n]
    if model.output == "softmax":
        # da_j/dz_k = a_j (delta_jk - a_k)
        return loss, [sum(da[j] * a[j] * ((j == k) - a[k]) for j in n) for k in n]
    return loss, [da[j] * SCALAR[model.output][1](z[j]) for j in n]
