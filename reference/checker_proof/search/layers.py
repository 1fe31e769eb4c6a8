"""Layers and losses in JAX, each with a backward pass written by hand.

A backward pass gets the cotangent and the arguments, and returns a line for each floating-point argument. Its text is
what the search changes, so it keeps to one equation a line; `np` in it stands for NumPy or for jax.numpy.
"""

import jax
import jax.numpy as jnp
import numpy as np

from reference.checker_proof.search.indices import add_at


def layer_norm(x, gain, bias):
    h = x - jnp.mean(x, -1, keepdims=True)
    return gain * h / jnp.sqrt(jnp.mean(h**2, -1, keepdims=True) + 1e-3) + bias


def layer_norm_backward(dout, x, gain, bias):
    h = x - np.mean(x, -1, keepdims=True)
    s = np.sqrt(np.mean(h**2, -1, keepdims=True) + 1e-3)
    n = h / s
    dgain = np.sum(dout * n, axis=0)
    dbias = np.sum(dout, axis=0)
    dn = dout * gain
    dx = (dn - np.mean(dn, -1, keepdims=True) - n * np.mean(dn * n, -1, keepdims=True)) / s
    return dx, dgain, dbias


def rms_norm(x, gain):
    return gain * x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-3)


def rms_norm_backward(dout, x, gain):
    r = 1 / np.sqrt(np.mean(x * x, -1, keepdims=True) + 1e-3)
    dn = dout * gain
    dgain = np.sum(dout * x * r, axis=0)
    dx = r * dn - r**3 * x * np.mean(dn * x, -1, keepdims=True)
    return dx, dgain


def batch_norm(x, gain, bias):
    return gain * (x - jnp.mean(x, 0)) / jnp.sqrt(jnp.var(x, 0) + 1e-3) + bias


def batch_norm_backward(dout, x, gain, bias):
    m = x.shape[0]
    mu = np.sum(x, axis=0) / m
    s = 1 / np.sqrt(np.sum((x - mu) ** 2, axis=0) / m + 1e-3)
    dn = dout * gain
    dvar = np.sum(dn * (x - mu), axis=0) * -0.5 * s**3
    dmu = -np.sum(dn * s, axis=0) - 2 * dvar * np.sum(x - mu, axis=0) / m
    dx = dn * s + 2 * dvar * (x - mu) / m + dmu / m
    dgain = np.sum(dout * (x - mu) * s, axis=0)
    dbias = np.sum(dout, axis=0)
    return dx, dgain, dbias


def unit_rows(x):
    return x / jnp.sqrt(jnp.sum(x * x, 1, keepdims=True) + 1e-6)


def unit_rows_backward(dout, x):
    n = np.sqrt(np.sum(x * x, axis=1, keepdims=True) + 1e-6)
    y = x / n
    dx = (dout - y * np.sum(dout * y, axis=1, keepdims=True)) / n
    return (dx,)


def attention(q, k, v):
    return jax.nn.softmax(q @ k.T / jnp.sqrt(q.shape[1]), axis=1) @ v


def attention_backward(dout, q, k, v):
    scale = 1 / np.sqrt(q.shape[1])
    S = q @ k.T * scale
    E = np.exp(S - np.max(S, axis=1, keepdims=True))
    P = E / np.sum(E, axis=1, keepdims=True)
    dv = P.T @ dout
    dP = dout @ v.T
    dS = P * (dP - np.sum(dP * P, axis=1, keepdims=True))
    dq = dS @ k * scale
    dk = dS.T @ q * scale
    return dq, dk, dv


def masked_attention(q, k, v, mask):
    S = jnp.einsum("bid,bjd->bij", q, k)
    return jnp.einsum("bij,bjd->bid", jax.nn.softmax(jnp.where(mask, S, -1e9), axis=-1), v)


def masked_attention_backward(dout, q, k, v, mask):
    S = np.where(mask, np.einsum("bid,bjd->bij", q, k), -1e9)
    E = np.exp(S - np.max(S, axis=-1, keepdims=True))
    P = E / np.sum(E, axis=-1, keepdims=True)
    dv = np.einsum("bij,bid->bjd", P, dout)
    dP = np.einsum("bid,bjd->bij", dout, v)
    dS = np.where(mask, P * (dP - np.sum(dP * P, axis=-1, keepdims=True)), 0)
    dq = np.einsum("bij,bjd->bid", dS, k)
    dk = np.einsum("bij,bid->bjd", dS, q)
    return dq, dk, dv


def convolution(x, w, b):
    """Multiply the patches of x, (n, channels, length), by the filters w, (filters, channels, 2)."""
    patches = jnp.stack([x[:, :, :-1], x[:, :, 1:]], axis=3)
    return jnp.einsum("nclk,fck->nfl", patches, w) + b[:, None]


def convolution_backward(dout, x, w, b):
    left = np.einsum("nfl,fc->ncl", dout, w[:, :, 0])
    right = np.einsum("nfl,fc->ncl", dout, w[:, :, 1])
    dw0 = np.einsum("nfl,ncl->fc", dout, x[:, :, :-1])
    dw1 = np.einsum("nfl,ncl->fc", dout, x[:, :, 1:])
    edge = 0 * x[:, :, :1]
    dx = np.concatenate([left, edge], axis=2) + np.concatenate([edge, right], axis=2)
    db = np.sum(dout, axis=(0, 2))
    return dx, np.stack([dw0, dw1], axis=2), db


def embedding(E, b, ids):
    return jnp.tanh(E[ids] + b)


def embedding_backward(dout, E, b, ids):
    dz = dout * (1 - np.tanh(E[ids] + b) ** 2)
    dE = add_at(E.shape[0], ids, dz)
    db = np.sum(dz, axis=0)
    return dE, db


def segment_mean(x, w, ids):
    sums = jax.ops.segment_sum(w[:, None] * x, ids, 3)
    return sums / (1 + jax.ops.segment_sum(w**2, ids, 3)[:, None])


def segment_mean_backward(dout, x, w, ids):
    sums = add_at(3, ids, w[:, None] * x)
    total = 1 + add_at(3, ids, w[:, None] ** 2)
    dsums = dout / total
    dtotal = -np.sum(dout * sums, axis=1, keepdims=True) / total**2
    dx = w[:, None] * dsums[ids]
    dw = np.sum(dsums[ids] * x, axis=1) + 2 * w * dtotal[ids][:, 0]
    return dx, dw
