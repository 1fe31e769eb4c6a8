"""Costs: the loss of each example, next to its derivatives.

C is the (weighted) mean of the losses, and a loss is a sum over outputs. Every derivative here is that of one example's
own loss, with no 1/m in it. Cross-entropy is written twice: in A, as in the textbook, and in Z, collapsed with its
output activation. The second form stays finite where A rounds to 0 or 1.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from manual_bp._activations import SIGMOID, SOFTMAX, Activation, check_function
from manual_bp._machine.class_indices import entry_at_class, is_class, minus_one_at_class


@dataclasses.dataclass(frozen=True)
class MatchedLoss:
    """A cost and its matching output activation, as one function of Z[L].

    Args:
        output: the activation.
        loss: (Z, Y) -> the loss of each example, shape (m,).
        dZ: (Z, A, Y) -> its derivative with respect to Z, shape (n_L, m).
        dY: (Z, Y) -> its derivative with respect to Y, shape (n_L, m).
        hessian: (Z, A, Y, V) -> H V for each example (column), with H the Hessian of its loss with respect to Z; shape
            (n_L, m). Only products with the curvature need it.
        hessian_root: (Z, A, Y) -> S with H = sum_k S[k] S[k]^T, shape (n_L, n_L, m). Only the diagonal and the
            Kronecker factors of the curvature need it.

    Example:
        >>> pair = bp.Network((2, 1), output="sigmoid").cost.matched
        >>> pair.output
        sigmoid
        >>> pair.dZ(jnp.zeros((1, 2)), jnp.full((1, 2), 0.5), jnp.array([[0.0, 1.0]])).tolist()
        [[0.5, -0.5]]
    """

    output: Activation
    loss: Callable[[Array, Array], Array]
    dZ: Callable[[Array, Array, Array], Array]
    dY: Callable[[Array, Array], Array]
    hessian: Callable[[Array, Array, Array, Array], Array] | None = None
    hessian_root: Callable[[Array, Array, Array], Array] | None = None


@dataclasses.dataclass(frozen=True)
class Cost:
    """A loss and its derivatives.

    Pass module-level functions, so that equal costs compare equal, hash and pickle.

    Args:
        loss: (A, Y) -> the loss of each example, shape (m,), from outputs A and targets Y of shape (n_L, m).
        dA: (A, Y) -> its derivative with respect to A, shape (n_L, m), with no 1/m in it.
        dY: (A, Y) -> its derivative with respect to Y, shape (n_L, m). Without it, to differentiate the cost with
            respect to Y is an error.
        matched: the same loss in closed form, together with its matching output activation.
        hessian, hessian_root: (A, Y, V) -> H V and (A, Y) -> S, as in `bp.MatchedLoss`, with respect to A. Those of
            `matched` are used instead where there is one.

    Example:
        >>> def cubic(A, Y):
        ...     return jnp.sum(jnp.abs(A - Y) ** 3, axis=0)
        >>> def cubic_dA(A, Y):
        ...     return 3 * (A - Y) * jnp.abs(A - Y)
        >>> network = bp.Network((2, 3, 1), output="identity", cost=bp.Cost(cubic, cubic_dA))
    """

    loss: Callable[[Array, Array], Array]
    dA: Callable[[Array, Array], Array]
    dY: Callable[[Array, Array], Array] | None = None
    matched: MatchedLoss | None = None
    hessian: Callable[[Array, Array, Array], Array] | None = None
    hessian_root: Callable[[Array, Array], Array] | None = None

    def __post_init__(self) -> None:
        check_function("loss of the cost", self.loss, "A, Y")
        check_function(f"dA of cost {self}", self.dA, "A, Y")
        for name, arguments in (("dY", "A, Y"), ("hessian", "A, Y, V"), ("hessian_root", "A, Y")):
            if getattr(self, name) is not None:
                check_function(f"{name} of cost {self}", getattr(self, name), arguments)

    def __repr__(self) -> str:
        return getattr(self.loss, "__name__", repr(self.loss))


def squared_error(A: Array, Y: Array) -> Array:
    """The sum over outputs of (a - y)^2."""
    return jnp.sum((A - Y) ** 2, axis=0)


def squared_error_dA(A: Array, Y: Array) -> Array:
    return 2 * (A - Y)


def squared_error_dY(A: Array, Y: Array) -> Array:
    return -2 * (A - Y)


def squared_error_hessian(A: Array, Y: Array, V: Array) -> Array:
    return 2 * V


def squared_error_hessian_root(A: Array, Y: Array) -> Array:
    return _columns_of_diagonal(jnp.full_like(A, 2**0.5))


def absolute_error(A: Array, Y: Array) -> Array:
    """The sum over outputs of |a - y|, with derivative 0 at a tie."""
    return jnp.sum(jnp.abs(A - Y), axis=0)


def absolute_error_dA(A: Array, Y: Array) -> Array:
    return jnp.sign(A - Y)


def absolute_error_dY(A: Array, Y: Array) -> Array:
    return -jnp.sign(A - Y)


def absolute_error_hessian(A: Array, Y: Array, V: Array) -> Array:
    return jnp.zeros_like(V)


def absolute_error_hessian_root(A: Array, Y: Array) -> Array:
    return _columns_of_diagonal(jnp.zeros_like(A))


def binary_cross_entropy(A: Array, Y: Array) -> Array:
    """The sum over outputs of -(y log a + (1 - y) log(1 - a))."""
    return -jnp.sum(jax.scipy.special.xlogy(Y, A) + jax.scipy.special.xlog1py(1 - Y, -A), axis=0)


def binary_cross_entropy_dA(A: Array, Y: Array) -> Array:
    # -Y/A + (1-Y)/(1-A)
    return -_ratio(Y, A) + _ratio(1 - Y, 1 - A)


def binary_cross_entropy_dY(A: Array, Y: Array) -> Array:
    return jnp.log1p(-A) - jnp.log(A)


def sigmoid_cross_entropy(Z: Array, Y: Array) -> Array:
    # -log sigmoid(Z) = softplus(-Z) and -log(1 - sigmoid(Z)) = softplus(Z)
    return jnp.sum(Y * jax.nn.softplus(-Z) + (1 - Y) * jax.nn.softplus(Z), axis=0)


def sigmoid_cross_entropy_dZ(Z: Array, A: Array, Y: Array) -> Array:
    # A - Y = (1-Y) A - Y (1-A), with 1 - A = sigmoid(-Z): no cancellation where A rounds to Y
    return (1 - Y) * A - Y * jax.nn.sigmoid(-Z)


def sigmoid_cross_entropy_dY(Z: Array, Y: Array) -> Array:
    return -Z


def sigmoid_cross_entropy_hessian(Z: Array, A: Array, Y: Array, V: Array) -> Array:
    # diag(A (1-A)), with 1 - A = sigmoid(-Z)
    return A * jax.nn.sigmoid(-Z) * V


def sigmoid_cross_entropy_hessian_root(Z: Array, A: Array, Y: Array) -> Array:
    return _columns_of_diagonal(jnp.sqrt(A * jax.nn.sigmoid(-Z)))


def categorical_cross_entropy(A: Array, Y: Array) -> Array:
    """The sum over outputs of -y log a."""
    return -jnp.sum(jax.scipy.special.xlogy(Y, A), axis=0)


def categorical_cross_entropy_dA(A: Array, Y: Array) -> Array:
    return -_ratio(Y, A)


def categorical_cross_entropy_dY(A: Array, Y: Array) -> Array:
    return -jnp.log(A)


def softmax_cross_entropy(Z: Array, Y: Array) -> Array:
    """The sum over outputs of -y log softmax(Z); Y may be class indices, of shape (m,)."""
    # -log A = log sum exp(Z - z) - (Z - z) for any z; with z = max Z no exp overflows
    z = jnp.max(Z, axis=0, keepdims=True)
    log_sum = jnp.log(jnp.sum(jnp.exp(Z - z), axis=0))
    if is_index(Y):
        return _one_if_class(Y, Z) * (log_sum - (entry_at_class(Z, Y) - z[0]))
    return jnp.sum(Y * (log_sum[None, :] - (Z - z)), axis=0)


def softmax_cross_entropy_dZ(Z: Array, A: Array, Y: Array) -> Array:
    # A sum(Y) - Y, which is A - Y for targets that sum to 1
    if is_index(Y):
        return minus_one_at_class(A * _one_if_class(Y, A)[None, :], Y)
    return A * jnp.sum(Y, axis=0, keepdims=True) - Y


def softmax_cross_entropy_dY(Z: Array, Y: Array) -> Array:
    return -jax.nn.log_softmax(Z, axis=0)


def softmax_cross_entropy_hessian(Z: Array, A: Array, Y: Array, V: Array) -> Array:
    # sum(Y) (diag(A) - A A^T)
    return _total(Y, A) * A * (V - jnp.sum(A * V, axis=0, keepdims=True))


def softmax_cross_entropy_hessian_root(Z: Array, A: Array, Y: Array) -> Array:
    # S[k] = (sum(Y) A_k)^(1/2) (e_k - A)
    e = jnp.eye(len(A), dtype=A.dtype)[:, :, None]
    return jnp.sqrt(_total(Y, A) * A)[:, None, :] * (e - A)


def _ratio(Y: Array, A: Array) -> Array:
    """Y / A, and 0 where Y is 0, as the loss has no such term."""
    return jnp.where(Y == 0, 0, Y / A)


def _total(Y: Array, A: Array) -> Array:
    """The sum of each column of Y, shape (1, m); 1 for a class index."""
    return _one_if_class(Y, A)[None, :] if is_index(Y) else jnp.sum(Y, axis=0, keepdims=True)


def _columns_of_diagonal(d: Array) -> Array:
    """S[k] = d_k e_k, for d of shape (n, m)."""
    return d[:, None, :] * jnp.eye(len(d), dtype=d.dtype)[:, :, None]


def is_index(Y: Array) -> bool:
    """Whether Y holds class indices instead of columns of targets."""
    return jnp.issubdtype(Y.dtype, jnp.integer)


def one_hot(Y: Integer[Array, " m"], A: Float[Array, "n m"]) -> Float[Array, "n m"]:
    """Class indices as columns of targets for outputs A; an index outside 0..n-1 gives a column of NaN."""
    return is_class(Y, A).astype(A.dtype) * _one_if_class(Y, A)[None, :]


def _one_if_class(Y: Array, A: Array) -> Array:
    """1, or NaN for an index outside 0..n-1, so that it does not go unnoticed."""
    return jnp.where((Y >= 0) & (Y < len(A)), 1, jnp.nan).astype(A.dtype)


CROSS_ENTROPIES = {
    SIGMOID: Cost(
        binary_cross_entropy,
        binary_cross_entropy_dA,
        binary_cross_entropy_dY,
        MatchedLoss(
            SIGMOID,
            sigmoid_cross_entropy,
            sigmoid_cross_entropy_dZ,
            sigmoid_cross_entropy_dY,
            sigmoid_cross_entropy_hessian,
            sigmoid_cross_entropy_hessian_root,
        ),
    ),
    SOFTMAX: Cost(
        categorical_cross_entropy,
        categorical_cross_entropy_dA,
        categorical_cross_entropy_dY,
        MatchedLoss(
            SOFTMAX,
            softmax_cross_entropy,
            softmax_cross_entropy_dZ,
            softmax_cross_entropy_dY,
            softmax_cross_entropy_hessian,
            softmax_cross_entropy_hessian_root,
        ),
    ),
}

COSTS = {
    "squared_error": Cost(
        squared_error,
        squared_error_dA,
        squared_error_dY,
        hessian=squared_error_hessian,
        hessian_root=squared_error_hessian_root,
    ),
    "absolute_error": Cost(
        absolute_error,
        absolute_error_dA,
        absolute_error_dY,
        hessian=absolute_error_hessian,
        hessian_root=absolute_error_hessian_root,
    ),
}
