"""Steps in a scan, undone from the first one that is not finite."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

from manual_bp._training.state import TrainState
from manual_bp._training.step import Step

StepFunction = Callable[[TrainState, Any], tuple[TrainState, Step]]
# (step, state, batches) -> the state after a step for each batch, and the steps
ScanSteps = Callable[[StepFunction, TrainState, Any], tuple[TrainState, Any]]


def scan_and_check(
    step: StepFunction, state: TrainState, batches: Any
) -> tuple[TrainState, tuple[Step, Bool[Array, ""]]]:
    """The state after a step for each batch, the steps, and whether all of them are finite."""
    end, steps = lax.scan(step, state, batches)
    return end, (steps, jnp.all(jnp.isfinite(steps.cost)) & _all_finite(end))


def scan_and_undo(step: StepFunction, state: TrainState, batches: Any) -> tuple[TrainState, Step]:
    """The state after a step for each batch, or before the first step whose cost or parameters are not finite.

    Parameters are checked only after the last step: once not finite they stay so, and a check costs a tenth of a step
    or more. If they are not finite, the finite steps are repeated from the start.
    """
    end, steps = lax.scan(step, state, batches)
    count, fine = len(steps.cost), jnp.all(jnp.isfinite(steps.cost))
    # the first cost that is not finite, or the number of steps
    first = jnp.where(fine, count, jnp.argmin(jnp.isfinite(steps.cost)))

    def step_again(i: Array, state: TrainState) -> TrainState:
        return step(state, jax.tree.map(lambda x: x[i], batches))[0]

    def repeat_fewer(carry: tuple[Array, TrainState]) -> tuple[Array, TrainState]:
        last = carry[0]
        # the cost was finite, but the last step's parameters were not: take one step fewer
        taken = jnp.where(last > first, first, last - 1)
        return taken, lax.fori_loop(0, taken, step_again, state)

    def unfinished(carry: tuple[Array, TrainState]) -> Bool[Array, ""]:
        taken, end = carry
        return (taken > first) | ((taken > 0) & ~_all_finite(end))

    taken, end = lax.while_loop(unfinished, repeat_fewer, (jnp.asarray(count, first.dtype), end))
    undone = jnp.arange(count) >= taken
    return end, jax.tree.map(lambda x: jnp.where(undone, jnp.nan, x), steps)


def _all_finite(state: TrainState) -> Bool[Array, ""]:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(p)) for p in jax.tree.leaves(state.params)]))
