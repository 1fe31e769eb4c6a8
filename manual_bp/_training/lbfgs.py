"""L-BFGS on all examples at once: one compiled loop, whose values and gradients are the hand-written ones."""

import functools
from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Integer

from manual_bp._network import Params
from manual_bp._training.objective import Objective, value_and_grad

# Why it ended, in the order of `Minimum.stopped`
REASONS = ("gradient", "not finite", "cost", "iterations", "evaluations")


class Minimum(NamedTuple):
    """Where L-BFGS ended.

    Attributes:
        params: there.
        cost: the objective there.
        costs: the objective after each iteration, shape (max_iterations,), of which `iterations` are set.
        iterations, evaluations: how many there were; an evaluation is a value and a gradient.
        stopped: the index of the reason in `REASONS`: the gradient's largest element is `tolerance` at most; cost or
            gradient are not finite; the cost has stopped falling; as many iterations or evaluations as there may be.
    """

    params: Params
    cost: Float[Array, ""]
    costs: Float[Array, " iterations"]
    iterations: Integer[Array, ""]
    evaluations: Integer[Array, ""]
    stopped: Integer[Array, ""]


class _Carry(NamedTuple):
    # parameters and gradient as vectors: there is less to compile for one array than for many
    params: Array
    optimizer_state: optax.OptState
    cost: Array
    grads: Array
    before: Array
    costs: Array
    iterations: Array
    evaluations: Array
    # whether the last iteration had no memory of earlier ones, but the gradient alone
    steepest: Array


@functools.lru_cache(maxsize=256)
def minimizer(objective: Objective, max_iterations: int) -> Callable[..., Minimum]:
    """The function (params, X, Y, weights, l2, tolerance, max_evaluations) -> Minimum, compiled.

    The examples are in columns, weights may be None, and `l2` stands in for that of the objective. The cost has stopped
    falling where an iteration lowers it by 2.2e-9 of it at most (or of 1, whichever is more; 4 eps in float32): SciPy's
    default. Dropout has no place here: the line search compares costs.

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
            # the line search has computed them where it ended
            cost, grads = optax.tree.get(state, "value"), optax.tree.get(state, "grad")
            steps = optax.tree.get(state, "num_linesearch_steps").astype(jnp.int32)
            costs = c.costs.at[c.iterations].set(cost)
            params = cast(Array, optax.apply_updates(c.params, updates))
            # the line search found nothing lower: once more along the gradient, with an empty memory
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
    """The objective as a function of the parameters' vector, of which autodiff takes the hand-written gradient."""
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
