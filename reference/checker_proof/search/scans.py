"""Recurrences like the programs of `layers`: by a scan in JAX, and by a loop over the steps by hand."""

import jax
import jax.numpy as jnp
import numpy as np


def rnn(x, W, U, b):
    def step(h, x_t):
        h = jnp.tanh(W @ x_t + U @ h + b)
        return h, h

    return jax.lax.scan(step, jnp.zeros_like(b), x)[1]


def rnn_backward(dout, x, W, U, b):
    T = x.shape[0]
    h = [0 * b]
    for t in range(T):
        h.append(np.tanh(W @ x[t] + U @ h[t] + b))
    dW, dU, db = 0 * W, 0 * U, 0 * b
    dh = 0 * b
    dx = []
    for t in reversed(range(T)):
        dh = dh + dout[t]
        dz = dh * (1 - h[t + 1] ** 2)
        dW = dW + np.outer(dz, x[t])
        dU = dU + np.outer(dz, h[t])
        db = db + dz
        dx.append(W.T @ dz)
        dh = U.T @ dz
    return np.stack(dx[::-1]), dW, dU, db


def linear_recurrence(a, x):
    def step(h, now):
        h = now[0] * h + now[1]
        return h, h

    return jax.lax.scan(step, jnp.zeros_like(x[0]), (a, x))[1]


def linear_recurrence_backward(dout, a, x):
    h = [0 * x[0]]
    for t in range(x.shape[0]):
        h.append(a[t] * h[t] + x[t])
    da, dx = [], []
    dh = 0 * x[0]
    for t in reversed(range(x.shape[0])):
        dh = dh + dout[t]
        dx.append(dh)
        da.append(dh * h[t])
        dh = a[t] * dh
    return np.stack(da[::-1]), np.stack(dx[::-1])
