"""Losses like the programs of `layers`."""

import jax
import jax.numpy as jnp
import numpy as np


def softmax(z):
    return jax.nn.softmax(z, axis=-1)


def softmax_backward(dout, z):
    e = np.exp(z - np.max(z, axis=-1, keepdims=True))
    p = e / np.sum(e, axis=-1, keepdims=True)
    dz = p * (dout - np.sum(dout * p, axis=-1, keepdims=True))
    return (dz,)


def cross_entropy(z, w, ids):
    losses = jax.nn.logsumexp(z, axis=1) - z[jnp.arange(len(ids)), ids]
    return jnp.sum(w * losses) / jnp.sum(w)


def cross_entropy_backward(dout, z, w, ids):
    top = np.max(z, axis=1, keepdims=True)
    e = np.exp(z - top)
    total = np.sum(e, axis=1, keepdims=True)
    target = ids[:, None] == np.arange(z.shape[1])
    losses = np.log(total[:, 0]) + top[:, 0] - np.sum(z * target, axis=1)
    share = w / np.sum(w)
    dz = dout * share[:, None] * (e / total - target)
    dw = dout * (losses - np.sum(share * losses)) / np.sum(w)
    return dz, dw


def huber(a, y):
    r = a - y
    return jnp.mean(jnp.where(jnp.abs(r) <= 1, r**2 / 2, jnp.abs(r) - 0.5))


def huber_backward(dout, a, y):
    r = a - y
    g = np.where(np.abs(r) <= 1, r, np.sign(r))
    da = dout * g / r.size
    return da, -da


def squared_error(x, theta, y, w):
    return jnp.sum(w * (x @ theta - y) ** 2) / jnp.sum(w) + 0.1 * jnp.sum(theta**2)


def squared_error_backward(dout, x, theta, y, w):
    r = x @ theta - y
    total = np.sum(w)
    dr = dout * 2 * w * r / total
    dx = np.outer(dr, theta)
    dtheta = x.T @ dr + dout * 0.2 * theta
    dw = dout * (r**2 - np.sum(w * r**2) / total) / total
    return dx, dtheta, -dr, dw


def logistic(x, theta, y):
    z = x @ theta
    return jnp.mean(jax.nn.softplus(z) - y * z)


def logistic_backward(dout, x, theta, y):
    z = x @ theta
    dz = dout * (1 / (1 + np.exp(-z)) - y) / z.shape[0]
    dx = np.outer(dz, theta)
    dtheta = x.T @ dz
    dy = -dout * z / z.shape[0]
    return dx, dtheta, dy
