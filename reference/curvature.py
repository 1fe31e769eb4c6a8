"""Second derivatives by autodiff: jvp of grad, and the Gauss-Newton matrix by jvp, vjp and a Hessian of the loss."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from reference import autodiff
from reference.autodiff import Model, Params


def hessian_product(model: Model, params: Params, X: Array, Y: Array, weights: Array | None, V: Params) -> Any:
    """Multiply the Hessian of the cost with V, forward over reverse."""
    return jax.jvp(lambda p: jax.grad(lambda p: autodiff.cost(model, p, X, Y, weights))(p), (params,), (V,))[1]


def gauss_newton_product(model: Model, params: Params, X: Array, Y: Array, w: Array, V: Params) -> Any:
    """Compute sum_i w_i J_i^T H_i J_i V: J by jvp, H by jvp of the loss's gradient, J^T by vjp."""
    outputs, JV = jax.jvp(lambda p: _outputs(model, p, X), (params,), (V,))
    _, HJV = jax.jvp(lambda out: jax.grad(lambda out: jnp.sum(_losses(model, out, Y)))(out), (outputs,), (JV,))
    _, transpose = jax.vjp(lambda p: _outputs(model, p, X), params)
    return transpose(w * HJV)[0]


def gauss_newton_diagonal(model: Model, params: Params, X: Array, Y: Array, w: Array) -> Any:
    """Compute the diagonal of sum_i w_i J_i^T H_i J_i from the full Jacobian of every example."""
    J, H = _jacobians(model, params, X), _hessians(model, params, X, Y)
    return jax.tree.map(lambda J: jnp.einsum("i,ikl,ik...,il...->...", w, H, J, J), J)


def kfac_factors(
    model: Model, params: Params, X: Array, Y: Array, w: Array, fisher: str = "exact"
) -> tuple[tuple[Array, Array], ...]:
    """Compute (sum_i w_i a a^T, sum_i w_i dz dz^T or B^T H B) of every layer, from derivatives by the biases."""
    A, _ = autodiff.forward(model, params, X)
    if fisher == "empirical":
        # the derivative of an example by b[l] is that by its column of Z[l]
        _, dZ = autodiff.intermediates(model, params, X, Y)
        G = [jnp.einsum("i,ni,mi->nm", w, d, d) for d in dZ]
    else:
        J, H = _jacobians(model, params, X), _hessians(model, params, X, Y)
        G = [jnp.einsum("i,ikl,ikn,ilm->nm", w, H, Jb[..., 0], Jb[..., 0]) for _, Jb in J]
    ones = jnp.ones((1, X.shape[1]), X.dtype)
    with_one = [jnp.concatenate([a, ones]) for a in A[:-1]]
    return tuple((jnp.einsum("i,ni,mi->nm", w, a, a), g) for a, g in zip(with_one, G, strict=True))


def output_gradient(model: Model, params: Params, X: Array, k: int, before_activation: bool) -> Array:
    """Compute the derivative of every example's output k by X."""

    def output(X: Array) -> Array:
        A, Z = autodiff.forward(model, params, X)
        return jnp.sum((Z if before_activation else A)[-1][k])

    return jax.grad(output)(X)


def _outputs(model: Model, params: Params, X: Array) -> Array:
    """Compute the argument of the loss: the logits for a cross-entropy, otherwise A[L]."""
    A, Z = autodiff.forward(model, params, X)
    return Z[-1] if model.cost == "cross_entropy" else A[-1]


def _losses(model: Model, outputs: Array, Y: Array) -> Array:
    if model.cost == "cross_entropy":
        return autodiff.losses(model, outputs, Y)
    return autodiff.losses_of_output(model, outputs, Y)


def _jacobians(model: Model, params: Params, X: Array) -> Any:
    """Compute every example's Jacobian of the outputs by the parameters: params with leading axes (m, n_L)."""
    return jax.vmap(lambda x: jax.jacrev(lambda p: _outputs(model, p, x[:, None])[:, 0])(params), in_axes=1)(X)


def _hessians(model: Model, params: Params, X: Array, Y: Array) -> Array:
    """Compute every example's Hessian of its loss by the outputs, shape (m, n_L, n_L)."""

    def hessian(out: Array, y: Array) -> Array:
        return jax.hessian(lambda out: _losses(model, out[:, None], y[..., None])[0])(out)

    return jax.vmap(hessian, in_axes=(1, -1))(_outputs(model, params, X), Y)
