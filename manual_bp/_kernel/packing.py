"""Parameters as the kernel reads them, and its sums as a cost and a gradient."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from manual_bp._kernel.takes import Form
from manual_bp._network import Layer, Params


def pack(form: Form, params: Params) -> tuple[Array, Array]:
    """All W and all b in float32, padded with zeros, one after another; no W[1] for a wide A[0]."""

    def padded(p: Array, rows: int, columns: int) -> Array:
        p = p[:, :columns]
        n, k = p.shape
        return jnp.pad(p.astype(jnp.float32), ((0, rows - n), (0, columns - k))).ravel()

    shapes = form.layers
    return (
        jnp.concatenate([padded(W, n, k) for (W, _), (n, k) in zip(params, shapes, strict=True)]),
        jnp.concatenate([padded(b, n, 1) for (_, b), (n, _) in zip(params, shapes, strict=True)]),
    )


def unpack(form: Form, sums: Array) -> tuple[Array, Params, Array]:
    """The sum of w loss, those of w dW and w db, and the sum of w; for a wide A[0] without columns of dW[1]."""
    shapes = [*form.layers, *[(n, 1) for n, _ in form.layers]]
    *parts, rest = jnp.split(sums, np.cumsum([n * k for n, k in shapes]))
    padded = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
    true = zip(form.network.sizes[1:], form.network.sizes, strict=False)
    layers = tuple(
        Layer(dW[:n, :k], db[:n]) for (n, k), dW, db in zip(true, padded[: form.L], padded[form.L :], strict=True)
    )
    return rest[0], layers, rest[1]
