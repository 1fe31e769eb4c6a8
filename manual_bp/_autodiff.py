"""The hand-written gradient against `jax.grad` of the same network written plainly."""

import jax
import jax.numpy as jnp
import numpy as np

from manual_bp._gradient import value_and_grad
from manual_bp._network import Network, Params


def plain_cost(params: Params, X: jax.Array, y: jax.Array) -> jax.Array:
    """Mean cross-entropy of a ReLU network with a softmax output; differentiated by JAX, by no rule of this library."""
    A = X
    for W, b in params[:-1]:
        A = jax.nn.relu(W @ A + b)
    W, b = params[-1]
    log_A = jax.nn.log_softmax(W @ A + b, axis=0)
    return -jnp.mean(log_A[y, jnp.arange(len(y))])


_plain_grad = jax.jit(jax.grad(plain_cost))


def gradient_errors(network: Network, params: Params, X: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """The relative error, in norm, of each dW[l] and db[l] in float64.

    Args:
        network: ReLU hidden layers, softmax and cross-entropy.
        params: where the gradient is taken, in any float dtype.
        X: inputs, shape (n_0, m).
        y: class indices, shape (m,).

    Returns:
        An error for each of "dW[1]", "db[1]", ...; infinite for a wrong shape or dtype, or a value that is not finite.
    """
    with jax.enable_x64(True):
        params, X = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), (params, X))
        _, grads = value_and_grad(network)(params, X, y)
        expected = _plain_grad(params, X, y)
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
