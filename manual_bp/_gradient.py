"""The cost, and the rule by which `jax.grad` of it runs the hand-written equations."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array

from manual_bp import _equations as equations
from manual_bp._checks import arguments as validate
from manual_bp._costs import is_index
from manual_bp._machine.products import accumulator, as_cotangent
from manual_bp._network import Network, Params


@jax.jit
def forward(network: Network, params: Params, X: Array) -> tuple[list, list]:
    """Every layer's activations and weighted inputs: Z[l] = W[l] A[l-1] + b[l], A[l] = g[l](Z[l]).

    Args:
        network: the description.
        params: a tuple of L layers, as `bp.init` gives.
        X: inputs, shape (n_0, m): columns are examples.

    Returns:
        (A, Z), lists indexed 0 to L of arrays of shape (n_l, m); A[0] is X and Z[0] is None.
    """
    return equations.forward(network, *validate.inputs(network, params, X))


@jax.jit
def predict(network: Network, params: Params, X: Array) -> Array:
    """The output A[L], shape (n_L, m), for inputs X of shape (n_0, m)."""
    return forward(network, params, X)[0][-1]


@jax.jit
def cost(network: Network, params: Params, X: Array, Y: Array, weights: Array | None = None) -> Array:
    """C = sum_i w_i loss_i, the weighted mean of the examples' losses.

    `jax.grad` of it runs the hand-written equations: argnums=1 for `params`, 2 for `X` (dA[0] * w), 3 for a float `Y`,
    4 for `weights`. Reverse mode only: a product with the Hessian is `bp.hessian_product`.

    Args:
        network: the description.
        params: a tuple of L layers, as `bp.init` gives. Their dtype is the dtype of the computation: X and a float Y
            are cast to it.
        X: inputs, shape (n_0, m): columns are examples.
        Y: targets, shape (n_L, m); for a categorical cross-entropy also class indices, integers of shape (m,). An
            index outside 0..n_L-1 makes the cost NaN.
        weights: example weights, shape (m,) or (1, m), numbers from 0 on or booleans; w_i is a weight over their sum,
            1/m unless given. An example of weight zero is absent, NaN included. Where all are zero the cost and its
            gradient are 0, and the derivative by the weights, which does not exist, is not finite.

    Returns:
        A scalar in the dtype of the parameters.

    Raises:
        ValueError, TypeError: a shape or dtype that does not fit, saying which and what was expected.
    """
    params, X, Y, weights = validate.arguments(network, params, X, Y, weights)
    if network.cost.dY is None and network.cost.collapsed is None:
        Y = _refuse_derivative(network, Y)
    return _cost(network, params, X, Y, weights)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _cost(network: Network, params: Params, X: Array, Y: Array, weights: Array | None) -> Array:
    return cost_forward(network, params, X, Y, weights)[0]


def cost_forward(network: Network, params: Params, X: Array, Y: Array, weights: Array | None) -> tuple[Array, tuple]:
    """C, and what `cost_backward` needs."""
    # An absent example passes through the layers as a column of zeros: whatever it held meets no other example
    present = None if weights is None else weights != 0
    A, Z = equations.forward(network, params, equations.select(X, present))
    losses = equations.example_losses(network, A, Z, _select_targets(Y, present))
    c = equations.mean_loss(losses, weights)
    return c.astype(X.dtype), (params, X, Y, weights, A, Z, c)


def cost_backward(
    network: Network, residuals: tuple, dC: Array | float, like: Params | None = None, X_in_rows: bool = False
) -> tuple:
    """The derivatives of dC * C with respect to params, X, Y and weights; by params in the dtypes of `like`.

    `X_in_rows` says that the examples lie in memory one after another, as those of a `bp.Dataset` do.
    """
    params, X, Y, weights, A, Z, c = residuals
    present = None if weights is None else weights != 0
    Y_present = _select_targets(Y, present)
    w, scale = 1.0 if weights is None else weights, dC * equations.normalizer(weights, X.shape[1])
    # Scaled at the start the average costs nothing; a narrow dtype would round it, and scales the float32 sums instead
    narrow = accumulator(X.dtype) != X.dtype
    if not narrow:
        w = w * scale

    def cotangent(d: Array, primal: Array) -> Array:
        return as_cotangent((d * scale if narrow else d).astype(primal.dtype), primal)

    dA, dZ = equations.backward(network, params, A, Z, Y_present, w, present)
    sums = equations.gradient_sums(params, A, dZ, X_in_rows)
    dparams = jax.tree.map(cotangent, sums, params if like is None else like)
    dX = cotangent(dA[0], X)
    dY = dweights = None
    if not is_index(Y):
        dY = cotangent(equations.target_derivative(network, A, Z, Y_present, w, present), Y)
    if weights is not None:
        # C = sum(w loss) / sum(w); an absent example's loss counts here, so it is computed from what it held
        losses = equations.example_losses(network, *equations.forward(network, params, X), Y)
        dweights = dC / jnp.sum(weights) * (losses[None, :] - c)
        dweights = as_cotangent(dweights.astype(weights.dtype), weights)
    return dparams, dX, dY, dweights


def _select_targets(Y: Array, present: Array | None) -> Array:
    """Y of the examples that are present, 0 for the others."""
    return equations.select(Y, present if present is None or Y.ndim == 2 else present[0])


_cost.defvjp(cost_forward, cost_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _refuse_derivative(network: Network, Y: Array) -> Array:
    """Y, of which no derivative can be taken."""
    return Y


def _refuse_derivative_backward(network: Network, _: None, dY: Array) -> tuple[Array]:
    raise TypeError(
        f"the derivative with respect to Y was asked for, and cost {network.cost} has no dY; pass one to bp.Cost"
    )


_refuse_derivative.defvjp(lambda network, Y: (Y, None), _refuse_derivative_backward)
