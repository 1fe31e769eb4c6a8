"""K-FAC: each layer's curvature as a Kronecker product of two small matrices, and the step it preconditions."""

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
from manual_bp._quantities.hessian_roots import sum_over_roots
from manual_bp._record import Record, check_record

Fisher = Literal["exact", "empirical"]


class KroneckerFactors(NamedTuple):
    """Of layer l: the mean of a a^T, a being A[l-1] with a 1 below it for the bias, and that of the curvature by Z[l].

    Their Kronecker product approximates the curvature of the layer's parameters (W[l], b[l]) taken as one matrix of
    shape (n_l, n_{l-1} + 1).
    """

    A: Float[Array, "k+1 k+1"]
    G: Float[Array, "n n"]


def kfac_factors(record: Record, fisher: Fisher = "exact") -> tuple[KroneckerFactors, ...]:
    """The Kronecker factors of every layer: sum_i w_i a_i a_i^T, a_i being A[l-1]'s column with a 1 below it, and G[l].

    "exact": G[l] = sum_i w_i B_i^T H_i B_i, with B the derivative of the outputs with respect to Z[l] and H the loss's
    Hessian, as `bp.gauss_newton_product` has them: for the cross-entropies the expectation of dz dz^T over targets
    drawn from the network's own output. It takes a backward pass for each output. "empirical": G[l] = sum_i w_i
    dz_i[l] dz_i[l]^T, from the targets as they are. Martens and Grosse, Optimizing neural networks with
    Kronecker-factored approximate curvature (2015), arXiv:1503.05671.

    Args:
        record: of `bp.backpropagate`.
        fisher: "exact" or "empirical".

    Returns:
        A tuple of L pairs (A, G), shapes (n_{l-1} + 1, n_{l-1} + 1) and (n_l, n_l), in float32 at least.
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
    """Steps so far, and the moving averages of the factors, before correction for their start at 0."""

    steps: Array
    factors: tuple[KroneckerFactors, ...]


def scale_by_kfac(damping: float = 1e-2, decay: float = 0.95) -> optax.GradientTransformationExtraArgs:
    """Preconditions a gradient by K-FAC, for `optax.chain`: G[l]^-1 (dW[l], db[l]) A[l]^-1.

    The factors are averaged over steps, with weights that decay, and damped by the factored Tikhonov rule: A + pi
    sqrt(damping) I and G + sqrt(damping)/pi I, pi^2 being the mean of A's diagonal over that of G's. Martens and Grosse
    (2015), arXiv:1503.05671, sec. 5 and 6.3.

        optimizer = optax.chain(bp.scale_by_kfac(damping=1e-2), optax.scale_by_learning_rate(0.5))
        updates, state = optimizer.update(grads, state, params, factors=bp.kfac_factors(record))

    Args:
        damping: added to the curvature, 0 or above; at 0 factors that are singular give NaN.
        decay: of the moving average, 0 (none) or above, below 1.

    Returns:
        A transformation whose `update` takes `factors`, of `bp.kfac_factors`, by keyword.
    """
    numbers.non_negative("damping", damping)
    if numbers.non_negative("decay", decay) >= 1:
        raise ValueError(f"decay is {decay}; expected a number from 0 to below 1")

    def init(params: optax.Params) -> KFACState:
        def zeros(n: int, p: Array) -> Array:
            return jnp.zeros((n, n), accumulator(p.dtype))

        layers = cast(Params, params)
        factors = tuple(KroneckerFactors(A=zeros(W.shape[1] + 1, W), G=zeros(W.shape[0], W)) for W, _ in layers)
        return KFACState(jnp.zeros((), jnp.int32), factors)

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None, **extra: Any
    ) -> tuple[optax.Updates, KFACState]:
        if "factors" not in extra:
            raise TypeError("update got no factors; expected optimizer.update(..., factors=bp.kfac_factors(record))")
        old = cast(KFACState, state)
        if _shapes(extra["factors"]) != _shapes(old.factors):
            raise TypeError("factors do not fit the parameters; expected those of bp.kfac_factors, of the same network")
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
    """(M + damping I)^-1 D, M being symmetric and positive semidefinite."""
    return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(M + damping * jnp.eye(len(M), dtype=M.dtype)), D)
