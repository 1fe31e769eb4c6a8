"""The hand-written gradient against `jax.grad` of the same network written plainly."""

import jax
import jax.numpy as jnp
import numpy as np

from manual_bp._network import Network, Params
from manual_bp._value_and_grad import value_and_grad


def plain_cost(params: Params, X: jax.Array, Y: jax.Array) -> jax.Array:
    """The cost of a ReLU network, differentiated by JAX, by no rule of this library.

    Of class indices the mean cross-entropy of a softmax output, of targets (n_L, m) the mean squared error.
    """
    A = X
    for W, b in params[:-1]:
        A = jax.nn.relu(W @ A + b)
    W, b = params[-1]
    Z = W @ A + b
    if Y.ndim == 2:
        return jnp.mean(jnp.sum((Z - Y) ** 2, axis=0))
    return -jnp.mean(jax.nn.log_softmax(Z, axis=0)[Y, jnp.arange(len(Y))])


_plain_grad = jax.jit(jax.grad(plain_cost))


def gradient_errors(network: Network, params: Params, X: np.ndarray, Y: np.ndarray) -> dict[str, float]:
    """The relative error, in norm, of each dW[l] and db[l] in float64.

    Args:
        network: ReLU hidden layers, and softmax with cross-entropy or identity with squared error.
        params: where the gradient is taken, in any float dtype.
        X: inputs, shape (n_0, m).
        Y: class indices, shape (m,), or targets, shape (n_L, m).

    Returns:
        An error for each of "dW[1]", "db[1]", ...; infinite for a wrong shape or dtype, or a value that is not finite.
    """
    with jax.enable_x64(True):
        params, X = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), (params, X))
        _, grads = value_and_grad(network)(params, X, Y)
        expected = _plain_grad(params, X, Y)
    whole = float(np.linalg.norm([np.linalg.norm(leaf) for leaf in jax.tree.leaves(expected)]))
    return {
        f"d{name}[{l}]": _relative_error(getattr(layer, name), getattr(true, name), whole)
        for l, (layer, true) in enumerate(zip(grads, expected, strict=True), start=1)
        for name in ("W", "b")
    }


def _relative_error(d: jax.Array, expected: jax.Array, whole: float) -> float:
    if d.shape != expected.shape or d.dtype != expected.dtype or not np.isfinite(d).all():
        return float("inf")
    # A leaf that is zero but for rounding is measured by the whole gradient
    norm = float(np.linalg.norm(expected))
    scale = norm if norm > 1e-12 * whole else whole
    return float(np.linalg.norm(np.subtract(d, expected))) / (scale or 1.0)
