"""K-FAC: the curvature of a layer as a Kronecker product of two small matrices, and the step it preconditions."""

import functools
from typing import Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from manual_bp._checks import numbers
from manual_bp._machine.precision import accumulator
from manual_bp._machine.products import outer_products
from manual_bp._network import Layer, Params
from manual_bp._output import select
from manual_bp._quantities.loss_hessian import sum_over_roots
from manual_bp._record import Record, check_record

Fisher = Literal["exact", "empirical"]


class KroneckerFactors(NamedTuple):
    """The two factors of layer l, whose Kronecker product approximates the curvature of its parameters.

    The parameters (W[l], b[l]) are taken as one matrix of shape (n_l, n_{l-1} + 1).

    Attributes:
        A: the mean of a a^T, where a is a column of A[l-1] with a 1 below it for the bias.
        G: the mean curvature with respect to Z[l].

    Example:
        >>> factors = bp.KroneckerFactors(A=jnp.eye(3), G=jnp.eye(2))
        >>> jnp.kron(factors.G, factors.A).shape
        (6, 6)
    """

    A: Float[Array, "k+1 k+1"]
    G: Float[Array, "n n"]


def kfac_factors(record: Record, fisher: Fisher = "exact") -> tuple[KroneckerFactors, ...]:
    """Compute the Kronecker factors A and G of every layer.

    A = sum_i w_i a_i a_i^T, where a_i is column i of A[l-1] with a 1 below it. Martens and Grosse, Optimizing neural
    networks with Kronecker-factored approximate curvature (2015), arXiv:1503.05671.

    Args:
        record: the record of `bp.backpropagate`.
        fisher: "exact" for G = sum_i w_i B_i^T H_i B_i, where B_i is the derivative of the output with respect to
            Z[l], and the output and H_i are those of `bp.gauss_newton_product`. For a cross-entropy that is the
            expectation of dz dz^T over targets drawn from the network's output. It takes one backward pass for each
            output. "empirical" for G = sum_i w_i dz_i[l] dz_i[l]^T, from the given targets.

    Returns:
        A tuple of L pairs (A, G), shapes (n_{l-1} + 1, n_{l-1} + 1) and (n_l, n_l), in float32 at least.

    Raises:
        TypeError, ValueError: an unknown fisher; with "exact", a cost without `hessian_root`.

    Example:
        >>> network = bp.Network((2, 3, 1), output="sigmoid")
        >>> params = bp.init(network, jax.random.key(0))
        >>> record = bp.backpropagate(network, params, jnp.ones((2, 5)), jnp.zeros((1, 5)))
        >>> [(A.shape, G.shape) for A, G in bp.kfac_factors(record)]
        [((3, 3), (3, 3)), ((4, 4), (1, 1))]
    """
    check_record(record)
    if fisher not in ("exact", "empirical"):
        raise ValueError(f"fisher is {fisher!r}; expected 'exact' or 'empirical'")
    return _factors(record, fisher)


@functools.partial(jax.jit, static_argnames="fisher")
def _factors(record: Record, fisher: Fisher) -> tuple[KroneckerFactors, ...]:
    w, present, dtype = record.weights, record.weights != 0, accumulator(record.cost.dtype)

    def mean(X: Array) -> Array:
        X = select(X.astype(dtype), present)
        return outer_products(X * w, X)

    def means(dZ: list) -> list[Array]:
        return [mean(d) for d in dZ[1:]]

    G = sum_over_roots(record, means) if fisher == "exact" else means(record.dZ)
    with_one = [jnp.concatenate([A, jnp.ones_like(A[:1])]) for A in record.A[:-1]]
    return tuple(KroneckerFactors(A=mean(a), G=g) for a, g in zip(with_one, G, strict=True))


class KFACState(NamedTuple):
    """The number of steps, and the moving averages of the factors before correction for their start at 0."""

    steps: Array
    factors: tuple[KroneckerFactors, ...]


def scale_by_kfac(damping: float = 1e-2, decay: float = 0.95) -> optax.GradientTransformationExtraArgs:
    """Make the optax transformation that preconditions a gradient by K-FAC: G^-1 (dW[l], db[l]) A^-1 for every layer.

    The factors are averaged over steps with decaying weights, and damped by the factored Tikhonov rule to
    A + pi sqrt(damping) I and G + sqrt(damping)/pi I, where pi^2 is the mean of A's diagonal over the mean of G's.
    Martens and Grosse (2015), arXiv:1503.05671, sec. 5 and 6.3.

    Args:
        damping: the amount added to the curvature, 0 or above; at 0, singular factors give NaN.
        decay: the decay of the moving average, from 0 (no average) to below 1.

    Returns:
        A transformation for `optax.chain`. Its `update` takes the result of `bp.kfac_factors` as the keyword `factors`.
        Use it in a loop of your own: `bp.fit`, `bp.train_step` and `bp.train_epoch` do not pass `factors`.

    Raises:
        ValueError, TypeError: a damping or decay that is not a number in its range.

    Example:
        >>> network = bp.Network((2, 3, 1), output="sigmoid")
        >>> params = bp.init(network, jax.random.key(0))
        >>> record = bp.backpropagate(network, params, jnp.ones((2, 5)), jnp.zeros((1, 5)))
        >>> optimizer = optax.chain(bp.scale_by_kfac(damping=1e-2), optax.scale_by_learning_rate(0.5))
        >>> grads, factors, state = bp.gradients(record), bp.kfac_factors(record), optimizer.init(params)
        >>> updates, state = optimizer.update(grads, state, params, factors=factors)
    """
    numbers.non_negative("damping", damping)
    if numbers.non_negative("decay", decay) >= 1:
        raise ValueError(f"decay is {decay}; expected a number from 0 to below 1")

    def init(params: optax.Params) -> KFACState:
        layers = [(accumulator(W.dtype), *W.shape) for W, _ in cast(Params, params)]
        factors = [KroneckerFactors(A=jnp.zeros((k + 1, k + 1), t), G=jnp.zeros((n, n), t)) for t, n, k in layers]
        return KFACState(jnp.zeros((), jnp.int32), tuple(factors))

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None, **extra: Any
    ) -> tuple[optax.Updates, KFACState]:
        if "factors" not in extra:
            raise TypeError("update got no factors; call optimizer.update(..., factors=bp.kfac_factors(record))")
        old = cast(KFACState, state)
        if _shapes(extra["factors"]) != _shapes(old.factors):
            raise TypeError("factors do not fit the parameters; expected bp.kfac_factors(record) of the same network")
        steps = old.steps + 1
        average = optax.tree.update_moment(extra["factors"], old.factors, decay, 1)
        factors = optax.tree.bias_correction(average, decay, steps)
        layers = zip(cast(Params, updates), factors, strict=True)
        return tuple(_precondition(d, factor, damping) for d, factor in layers), KFACState(steps, average)

    return optax.GradientTransformationExtraArgs(init, update)


def _shapes(factors: Any) -> Any:
    return jax.tree.structure(factors), [jnp.shape(x) for x in jax.tree.leaves(factors)]


def _precondition(d: Layer, factors: KroneckerFactors, damping: float) -> Layer:
    """G^-1 (dW, db) A^-1, both damped."""
    A, G = factors
    D = jnp.concatenate([d.W, d.b], axis=1).astype(A.dtype)
    mean_A, mean_G = jnp.trace(A) / len(A), jnp.trace(G) / len(G)
    pi = jnp.sqrt(jnp.where((mean_A > 0) & (mean_G > 0), mean_A / mean_G, 1))
    U = _solve(G, jnp.sqrt(damping) / pi, D)
    U = _solve(A, jnp.sqrt(damping) * pi, U.T).T.astype(d.W.dtype)
    return Layer(W=U[:, :-1], b=U[:, -1:])


def _solve(M: Array, damping: Array, D: Array) -> Array:
    """(M + damping I)^-1 D for a symmetric positive semidefinite M."""
    return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(M + damping * jnp.eye(len(M), dtype=M.dtype)), D)
