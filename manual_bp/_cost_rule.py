"""The cost, whose derivatives under `jax.grad` are the hand-written equations."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array

from manual_bp import _equations as equations
from manual_bp import _output as output
from manual_bp._checks import arguments
from manual_bp._costs import is_index
from manual_bp._jit import jit
from manual_bp._machine import layout
from manual_bp._machine.precision import accumulator
from manual_bp._machine.products import weight_gradient
from manual_bp._machine.sharding import as_cotangent
from manual_bp._network import AnyArray, Network, Params


@jit
def cost(network: Network, params: Params, X: AnyArray, Y: AnyArray, weights: AnyArray | None = None) -> Array:
    """Compute C = sum_i w_i loss_i, the weighted mean of the examples' losses.

    `jax.grad` of it runs the hand-written equations: argnums=1 for `params`, 2 for `X` (dA[0] * w), 3 for a float `Y`,
    4 for `weights`. Without argnums it would differentiate with respect to the network, which holds no arrays, and
    return the network. It supports reverse mode only; for a product with the Hessian use `bp.hessian_product`.

    Args:
        network: the description.
        params: a tuple of L layers, as `bp.init` gives. Their dtype is the dtype of the computation: X and a float Y
            are cast to it.
        X: inputs, shape (n_0, m): columns are examples.
        Y: targets, shape (n_L, m); for a categorical cross-entropy also class indices, integers of shape (m,). An
            index outside 0..n_L-1 makes the cost NaN.
        weights: example weights, shape (m,) or (1, m), non-negative numbers or booleans; w_i is a weight over the sum
            of all weights, or 1/m without weights. An example of weight zero is absent, even if it holds NaN. If all
            weights are zero, the cost and its gradient are 0, and the derivative with respect to the weights, which
            does not exist, is not finite.

    Returns:
        A scalar in the dtype of the parameters.

    Raises:
        ValueError, TypeError: a shape or dtype that does not fit, with the name of the argument and what is expected.

    Example:
        >>> network = bp.Network((2, 3, 1), output="sigmoid")
        >>> params = bp.init(network, jax.random.key(0))
        >>> X, Y = jnp.ones((2, 5)), jnp.zeros((1, 5))
        >>> dparams = jax.grad(bp.cost, argnums=1)(network, params, X, Y)
        >>> dparams[0].W.shape
        (3, 2)
    """
    params, X, Y, weights = arguments.checked(network, params, X, Y, weights)
    if network.cost.dY is None and network.cost.matched is None:
        Y = output.target_gradient_refused(network, Y)
    return _cost(network, params, X, Y, weights)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _cost(network: Network, params: Params, X: Array, Y: Array, weights: Array | None) -> Array:
    return cost_forward(network, params, X, Y, weights)[0]


def cost_forward(
    network: Network, params: Params, X: Array, Y: Array, weights: Array | None, X_in_rows: bool = False
) -> tuple[Array, tuple]:
    """C, and the residuals that `cost_backward` needs; `X_in_rows` as in `layout.of_pass`."""
    # An absent example passes through the layers as a column of zeros: whatever it held meets no other example
    present = None if weights is None else weights != 0
    inside = layout.of_pass(network.sizes, X, X_in_rows)
    A, Z = equations.forward(network.activations, inside.params(params), inside.inputs(output.select(X, present)))
    losses = output.losses_of(network, A, Z, output.select_targets(Y, present))
    c = output.mean_loss(losses, weights)
    return c.astype(X.dtype), (params, X, Y, weights, A, Z, c)


def cost_backward(
    network: Network, residuals: tuple, dC: Array | float, like: Params | None = None, X_in_rows: bool = False
) -> tuple:
    """The derivatives of dC * C with respect to params, in the dtypes of `like`, and to X, Y and weights."""
    params, X, Y, weights, A, Z, c = residuals
    present = None if weights is None else weights != 0
    Y_present = output.select_targets(Y, present)
    w, scale = 1.0 if weights is None else weights, dC * output.normalizer(weights, X.shape[1])
    # The average costs nothing at the start of the pass. A narrow dtype would round it: there it scales float32 sums
    narrow = accumulator(X.dtype) != X.dtype
    if not narrow:
        w = w * scale

    def cotangent(d: Array, primal: Array) -> Array:
        return as_cotangent((d * scale if narrow else d).astype(primal.dtype), primal)

    def product(dZ: Array, A_before: Array, W: Array) -> Array:
        return weight_gradient(dZ, A_before, W, in_rows=X_in_rows and A_before is A[0])

    _, dZ_L = output.output_derivatives(network, A, Z, Y_present, w, present)
    inside = layout.of_pass(network.sizes, X, X_in_rows)
    activations = output.without_absent(network.activations, inside.turn(present))
    dA, dZ = equations.backward(activations, inside.params(params), A, Z, dZ_L)
    sums = equations.gradient_sums(params, inside.columns(A), inside.columns(dZ), product)
    dparams = jax.tree.map(cotangent, sums, params if like is None else like)
    dX = cotangent(inside.turn(dA[0]), X)
    dY = dweights = None
    if not is_index(Y):
        dY = cotangent(output.target_derivative(network, A, Z, Y_present, w, present), Y)
    if weights is not None:
        # C = sum(w loss) / sum(w); an absent example's loss counts here, so it is computed from what it held
        as_given = equations.forward(network.activations, inside.params(params), inside.inputs(X))
        losses = output.losses_of(network, *as_given, Y)
        dweights = dC / jnp.sum(weights) * (losses[None, :] - c)
        dweights = as_cotangent(dweights.astype(weights.dtype), weights)
    return dparams, dX, dY, dweights


_cost.defvjp(cost_forward, cost_backward)
