"""Every quantity by autodiff, in the fastest form that does not use the backward pass.

Means over axis 0, squares and norms stand where XLA can fuse them with the computation of the examples' gradients, so
that these are never written out. As a `tensordot` with weights, the second moment takes 25 times as long. A quantity
that needs two passes, such as clipping, has two.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

import manual_bp as bp
from benchmarks import blocked
from reference import autodiff, curvature, per_example
from reference.autodiff import Model, Params

BLOCK = 256  # examples in a block of accumulated gradients
MAX_NORM = 1.0  # of clipped gradients


def per_example_norms(model: Model, params: Params, X: Array, Y: Array) -> Array:
    return per_example.norms(per_example.gradients(model, params, X, Y))


def clipped_gradients_written_out(model: Model, params: Params, X: Array, Y: Array) -> Any:
    """The form of libraries for private training: scale every example's gradient, then take the mean."""
    m = X.shape[1]
    grads, w = per_example.gradients(model, params, X, Y), jnp.full(m, 1 / m, X.dtype)
    return per_example.clipped(grads, w, MAX_NORM)


def clipped_gradients(model: Model, params: Params, X: Array, Y: Array) -> Any:
    """The gradient of the mean of the losses, each multiplied by its clipping factor."""
    factors = jnp.minimum(1, MAX_NORM / per_example_norms(model, params, X, Y))
    return jax.grad(lambda p: jnp.mean(factors * autodiff.losses(model, _logits(model, p, X), Y)))(params)


def second_moment(model: Model, params: Params, X: Array, Y: Array) -> Any:
    return _mean_square(per_example.gradients(model, params, X, Y))


def variance(model: Model, params: Params, X: Array, Y: Array) -> Any:
    mean = _gradient(model, params, X, Y)
    return jax.tree.map(lambda square, g: square - g**2, second_moment(model, params, X, Y), mean)


def noise_scale(model: Model, params: Params, X: Array, Y: Array) -> Array:
    mean_square = jnp.mean(per_example_norms(model, params, X, Y) ** 2)
    square_mean = sum(jnp.sum(g**2) for g in jax.tree.leaves(_gradient(model, params, X, Y)))
    trace = (mean_square - square_mean) / (1 - 1 / X.shape[1])
    return trace / (mean_square - trace)


def gram_matrix(model: Model, params: Params, X: Array, Y: Array) -> Array:
    """The sum over leaves; joining the leaves would write the gradients out a second time."""
    leaves = jax.tree.leaves(per_example.gradients(model, params, X, Y))
    return sum((per_example.gram_matrix(leaf) for leaf in leaves), start=jnp.zeros((), X.dtype))


def hessian_product(model: Model, params: Params, X: Array, Y: Array, V: Params) -> Any:
    return curvature.hessian_product(model, params, X, Y, None, V)


def gauss_newton_product(model: Model, params: Params, X: Array, Y: Array, V: Params) -> Any:
    m = X.shape[1]
    return curvature.gauss_newton_product(model, params, X, Y, jnp.full(m, 1 / m, X.dtype), V)


def gauss_newton_diagonal(model: Model, params: Params, X: Array, Y: Array) -> Any:
    """The sum over k of the mean squares of the examples' gradients of s_k . z."""

    def gradient(x: Array, s: Array) -> Any:
        return jax.grad(lambda p: s @ _logits(model, p, x[:, None])[:, 0])(params)

    def add(total: Any, s: Array) -> tuple[Any, None]:
        grads = jax.vmap(gradient, in_axes=1)(X, s)
        return jax.tree.map(jnp.add, total, _mean_square(grads)), None

    roots = _hessian_roots(_logits(model, params, X))
    return lax.scan(add, jax.tree.map(jnp.zeros_like, params), roots)[0]


def kfac_exact(model: Model, params: Params, X: Array, Y: Array) -> tuple[bp.KroneckerFactors, ...]:
    return _kfac(model, params, X, _hessian_roots)


def kfac_empirical(model: Model, params: Params, X: Array, Y: Array) -> tuple[bp.KroneckerFactors, ...]:
    def dZ_L(Z_L: Array) -> Array:
        return jax.grad(lambda Z_L: jnp.sum(autodiff.losses(model, Z_L, Y)))(Z_L)[None]

    return _kfac(model, params, X, dZ_L)


def accumulated_gradients(model: Model, params: Params, X: Array, Y: Array) -> Any:
    return blocked.value_and_grad(model, BLOCK)(params, X, Y)[1]


def output_gradient(model: Model, params: Params, X: Array, Y: Array) -> Array:
    return curvature.output_gradient(model, params, X, 0, before_activation=False)


def _logits(model: Model, params: Params, X: Array) -> Array:
    return autodiff.forward(model, params, X)[1][-1]


def _gradient(model: Model, params: Params, X: Array, Y: Array) -> Any:
    return jax.grad(functools.partial(autodiff.cost, model))(params, X, Y)


def _mean_square(grads: Any) -> Any:
    return jax.tree.map(lambda g: jnp.mean(g**2, axis=0), grads)


def _hessian_roots(Z_L: Array) -> Array:
    """s_k = sqrt(p_k) (e_k - p), shape (n_L, n_L, m): sum_k s_k s_k^T is the Hessian of the softmax cross-entropy."""
    p = jax.nn.softmax(Z_L, axis=0)
    return jnp.sqrt(p)[:, None] * (jnp.eye(len(p), dtype=p.dtype)[:, :, None] - p)


def _kfac(model: Model, params: Params, X: Array, starts: Callable[[Array], Array]) -> tuple[bp.KroneckerFactors, ...]:
    """G[l]: the mean of dz dz^T over examples, summed over the matrices dZ[L] in `starts`.

    dZ[l] is the derivative with respect to a zero that is added to Z[l].
    """
    m = X.shape[1]
    zeros = [jnp.zeros((n, m), X.dtype) for n in model.sizes[1:]]

    def forward(zeros: list[Array]) -> tuple[Array, list[Array]]:
        A, Z = autodiff.forward(model, params, X, None, zeros)
        return Z[-1], A[:-1]

    Z_L, back, A = jax.vjp(forward, zeros, has_aux=True)

    def add(G: list[Array], dZ_L: Array) -> tuple[list[Array], None]:
        (dZ,) = back(dZ_L)
        return [g + _mean_product(dz) for g, dz in zip(G, dZ, strict=True)], None

    G, _ = lax.scan(add, [jnp.zeros((n, n), X.dtype) for n in model.sizes[1:]], starts(Z_L))
    with_one = [jnp.concatenate([a, jnp.ones((1, m), X.dtype)]) for a in A]
    return tuple(bp.KroneckerFactors(_mean_product(a), g) for a, g in zip(with_one, G, strict=True))


def _mean_product(columns: Array) -> Array:
    return columns @ columns.T / columns.shape[1]
