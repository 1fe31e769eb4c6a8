"""More programs like those of `layers`: dense and gated blocks, pooling, dropout, and products."""

import jax
import jax.numpy as jnp
import numpy as np


def residual(x, W, V):
    return x + jax.nn.relu(x @ W) @ V


def residual_backward(dout, x, W, V):
    z = x @ W
    a = np.maximum(z, 0)
    dV = a.T @ dout
    dz = dout @ V.T * (z > 0)
    dW = x.T @ dz
    dx = dout + dz @ W.T
    return dx, dW, dV


def gated(x, W, V):
    return jax.nn.silu(x @ W) * (x @ V)


def gated_backward(dout, x, W, V):
    z = x @ W
    s = 1 / (1 + np.exp(-z))
    g = x @ V
    dg = dout * z * s
    dz = dout * g * (s + z * s * (1 - s))
    dW = x.T @ dz
    dV = x.T @ dg
    dx = dz @ W.T + dg @ V.T
    return dx, dW, dV


def activations(x, beta):
    return jax.nn.softplus(beta * x) + jax.nn.gelu(x) + jnp.clip(x, -1, 1)


def activations_backward(dout, x, beta):
    s = 1 / (1 + np.exp(-beta * x))
    c = np.sqrt(2 / np.pi)
    t = np.tanh(c * (x + 0.044715 * x**3))
    gelu = (1 + t) / 2 + x / 2 * (1 - t**2) * c * (1 + 3 * 0.044715 * x**2)
    inside = np.abs(x) < 1
    dx = dout * (s * beta + gelu + inside)
    dbeta = np.sum(dout * s * x, axis=0)
    return dx, dbeta


def dropout(x, W, mask):
    return jnp.where(mask, jax.nn.relu(x @ W) / 0.8, 0)


def dropout_backward(dout, x, W, mask):
    z = x @ W
    dz = np.where(mask, dout / 0.8, 0) * (z > 0)
    dW = x.T @ dz
    dx = dz @ W.T
    return dx, dW


def max_pool(x):
    return jnp.max(jnp.stack([x[:, :-1], x[:, 1:]]), axis=0)


def max_pool_backward(dout, x):
    first = x[:, :-1] >= x[:, 1:]
    edge = 0 * x[:, :1]
    left = np.where(first, dout, 0)
    right = np.where(first, 0, dout)
    dx = np.concatenate([left, edge], axis=1) + np.concatenate([edge, right], axis=1)
    return (dx,)


def average_pool(x, w):
    return jnp.sum(w * x, axis=1) / x.shape[1] + jnp.mean(x, axis=0).sum()


def average_pool_backward(dout, x, w):
    each = dout[:, None] / x.shape[1]
    dx = w * each + np.sum(dout) / x.shape[0]
    dw = np.sum(each * x, axis=0)
    return dx, dw


def trilinear(x, W, y):
    return jnp.einsum("ni,ijk,nj->nk", x, W, y)


def trilinear_backward(dout, x, W, y):
    dx = np.einsum("nk,ijk,nj->ni", dout, W, y)
    dW = np.einsum("nk,ni,nj->ijk", dout, x, y)
    dy = np.einsum("nk,ni,ijk->nj", dout, x, W)
    return dx, dW, dy


def factorization(x, V):
    return ((x @ V) ** 2 - x**2 @ V**2).sum(axis=1) / 2


def factorization_backward(dout, x, V):
    s = x @ V
    each = dout[:, None]
    dx = each * (s @ V.T - x * np.sum(V**2, axis=1))
    dV = x.T @ (each * s) - V * ((x**2).T @ each)
    return dx, dV


def distances(x, c):
    return jnp.sqrt(jnp.sum((x[:, None] - c) ** 2, axis=2) + 1e-6)


def distances_backward(dout, x, c):
    r = x[:, None] - c
    d = np.sqrt(np.sum(r**2, axis=2) + 1e-6)
    dr = (dout / d)[:, :, None] * r
    dx = np.sum(dr, axis=1)
    dc = -np.sum(dr, axis=0)
    return dx, dc


def chained(A, B, x):
    return jnp.exp(-((A @ jnp.sin(B @ x)) ** 2) / 2)


def chained_backward(dout, A, B, x):
    z = B @ x
    s = np.sin(z)
    y = A @ s
    dy = -dout * y * np.exp(-(y**2) / 2)
    dA = dy @ s.T
    dz = A.T @ dy * np.cos(z)
    dB = dz @ x.T
    dx = B.T @ dz
    return dA, dB, dx


def running_sum(x, decay):
    weights = decay ** jnp.arange(x.shape[0])[::-1]
    return jnp.cumsum(weights[:, None] * x, axis=0)


def running_sum_backward(dout, x, decay):
    n = np.arange(x.shape[0])[::-1]
    below = np.cumsum(dout[::-1], axis=0)[::-1]
    dx = (decay**n)[:, None] * below
    ddecay = np.sum(below * x * (n * decay ** np.maximum(n - 1, 0))[:, None])
    return dx, ddecay
