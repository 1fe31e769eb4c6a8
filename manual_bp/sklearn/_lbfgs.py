"""The solver of small data: L-BFGS on all examples at once, one compiled loop over the hand-written gradient."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Integer
from sklearn.exceptions import ConvergenceWarning

from manual_bp._network import Network, Params
from manual_bp._training.dataset import Dataset
from manual_bp._training.objective import Objective, objective, value_and_grad

# Why it ended; `Minimum.stopped` is an index into these
REASONS = ("gradient", "not finite", "cost", "iterations", "evaluations")


def fit_lbfgs(mlp: Any, network: Network, params: Params, data: Dataset) -> Params:
    """Trains until the gradient's largest element is `tol` or the loss stops falling; sets attributes of `mlp`."""
    X, Y, w = data
    minimize = minimizer(objective(network, 0.0, 0.0, mlp.compute_dtype), mlp.max_iter)
    total = len(X) if w is None else float(np.sum(np.asarray(w)))
    found = minimize(params, X.T, Y.T, w, mlp.alpha / total if total else 0.0, float(mlp.tol), int(mlp.max_fun))
    mlp.n_iter_, mlp.loss_ = int(found.iterations), float(found.cost)
    mlp.loss_curve_ = np.asarray(found.costs, np.float64)[: mlp.n_iter_].tolist()
    mlp.best_loss_, mlp.validation_scores_, mlp.best_validation_score_ = mlp.loss_, None, None
    reason = REASONS[int(found.stopped)]
    if mlp.verbose:
        print(f"L-BFGS: {mlp.n_iter_} iterations, {int(found.evaluations)} evaluations, loss = {mlp.loss_:.8f}")
    if reason == "not finite":
        raise ValueError(
            f"the loss is not finite at iteration {mlp.n_iter_}. The input may hold large values: scale it"
        )
    if reason in ("iterations", "evaluations"):
        what = f"max_iter={mlp.max_iter}" if reason == "iterations" else f"max_fun={mlp.max_fun}"
        warnings.warn(f"{what} {reason} were reached before L-BFGS converged", ConvergenceWarning, stacklevel=4)
    return found.params


class Minimum(NamedTuple):
    """The point at which L-BFGS ended.

    Attributes:
        params: the parameters.
        cost: the objective.
        costs: the objective after each iteration, shape (max_iterations,); only the first `iterations` are set.
        iterations, evaluations: their numbers; an evaluation is a value and a gradient.
        stopped: the index in `REASONS`: the gradient's largest element is at most `tolerance`; cost or gradient are not
            finite; the cost has stopped falling; the limit of iterations or evaluations is reached.
    """

    params: Params
    cost: Float[Array, ""]
    costs: Float[Array, " iterations"]
    iterations: Integer[Array, ""]
    evaluations: Integer[Array, ""]
    stopped: Integer[Array, ""]


class _Carry(NamedTuple):
    # parameters and gradient as vectors: one array compiles faster than many
    params: Array
    optimizer_state: optax.OptState
    cost: Array
    grads: Array
    before: Array
    costs: Array
    iterations: Array
    evaluations: Array
    # whether the last iteration used the gradient alone, without a memory of earlier ones
    steepest: Array


@functools.lru_cache(maxsize=256)
def minimizer(objective: Objective, max_iterations: int) -> Callable[..., Minimum]:
    """The compiled function (params, X, Y, weights, l2, tolerance, max_evaluations) -> Minimum.

    The examples are in columns, weights may be None, and `l2` replaces that of the objective. The cost has stopped
    falling if an iteration lowers it by at most 2.2e-9 (4 eps in float32) times the cost or 1, whichever is more; this
    is SciPy's default. The objective must have no dropout, as the line search compares costs.

    Liu and Nocedal, On the limited memory BFGS method for large scale optimization (1989).
    """
    optimizer = optax.lbfgs()

    @jax.jit
    def minimize(
        params: Params, X: Array, Y: Array, weights: Array | None, l2: Array, tolerance: Array, max_evaluations: Array
    ) -> Minimum:
        vector, layers = ravel_pytree(params)
        value = _differentiable(objective.with_l2(l2), layers, X, Y, weights)
        cost, grads = jax.value_and_grad(value)(vector)
        small = max(1e7 * jnp.finfo(jnp.float64).eps, 4 * jnp.finfo(cost.dtype).eps)

        def reasons(c: _Carry) -> Bool[Array, " reasons"]:
            largest, fallen = jnp.max(jnp.abs(c.grads)), c.before - c.cost
            scale = jnp.maximum(jnp.maximum(jnp.abs(c.before), jnp.abs(c.cost)), 1)
            return jnp.stack([
                largest <= tolerance,
                ~jnp.isfinite(c.cost + largest),
                (c.iterations > 0) & (fallen <= small * scale) & ((fallen > 0) | c.steepest),
                c.iterations >= max_iterations,
                c.evaluations >= max_evaluations,
            ])  # fmt: skip

        def iterate(c: _Carry) -> _Carry:
            updates, state = optimizer.update(
                c.grads, c.optimizer_state, c.params, value=c.cost, grad=c.grads, value_fn=value
            )
            # the line search has computed them at its end
            cost, grads = optax.tree.get(state, "value"), optax.tree.get(state, "grad")
            steps = optax.tree.get(state, "num_linesearch_steps").astype(jnp.int32)
            costs = c.costs.at[c.iterations].set(cost)
            params = cast(Array, optax.apply_updates(c.params, updates))
            # if the line search found nothing lower, try once more along the gradient, with an empty memory
            stuck = cost >= c.cost
            state = jax.tree.map(functools.partial(jnp.where, stuck), optimizer.init(vector), state)
            steepest = optax.tree.get(c.optimizer_state, "count") == 0
            return _Carry(params, state, cost, grads, c.cost, costs, c.iterations + 1, c.evaluations + steps, steepest)

        zero = jnp.zeros((), jnp.int32)
        costs = jnp.full(max_iterations, jnp.nan, cost.dtype)
        start = _Carry(vector, optimizer.init(vector), cost, grads, cost, costs, zero, zero + 1, jnp.asarray(True))
        end = lax.while_loop(lambda c: ~jnp.any(reasons(c)), iterate, start)
        stopped = jnp.argmax(reasons(end))
        return Minimum(layers(end.params), end.cost, end.costs, end.iterations, end.evaluations, stopped)

    return minimize


def _differentiable(
    objective: Objective, layers: Callable[[Array], Params], X: Array, Y: Array, weights: Array | None
) -> Callable[[Array], Array]:
    """The objective as a function of the parameters' vector. Its derivative, to JAX, is the hand-written gradient."""
    key = jax.random.key(0)

    @jax.custom_vjp
    def value(vector: Array) -> Array:
        return forward(vector)[0]

    def forward(vector: Array) -> tuple[Array, Array]:
        cost, grads = value_and_grad(objective, layers(vector), X, Y, weights, key)
        return cost, ravel_pytree(grads)[0]

    def backward(grads: Array, dC: Array) -> tuple[Array]:
        return (dC * grads,)

    value.defvjp(forward, backward)
    return value
