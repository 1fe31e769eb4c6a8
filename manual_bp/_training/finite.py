"""Steps in a scan, undone from the first that is not finite on."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

from manual_bp._training.state import TrainState
from manual_bp._training.step import Step

StepFunction = Callable[[TrainState, Any], tuple[TrainState, Step]]
# A step for each batch: (step, state, batches) -> the state after them, and what is known of them
Take = Callable[[StepFunction, TrainState, Any], tuple[TrainState, Any]]


def steps_as_they_are(
    step: StepFunction, state: TrainState, batches: Any
) -> tuple[TrainState, tuple[Step, Bool[Array, ""]]]:
    """The state after a step for each batch, the steps, and whether they are finite."""
    end, steps = lax.scan(step, state, batches)
    return end, (steps, jnp.all(jnp.isfinite(steps.cost)) & _all_finite(end))


def finite_steps(step: StepFunction, state: TrainState, batches: Any) -> tuple[TrainState, Step]:
    """The state after a step for each batch, or before the first whose cost or parameters are not finite.

    To look at the parameters in each step would take a tenth of its time or more. What is not finite stays so: it is
    looked at after the last step, and only then are the steps that were finite taken again, from the start.
    """
    end, steps = lax.scan(step, state, batches)
    count, fine = len(steps.cost), jnp.all(jnp.isfinite(steps.cost))
    # the first that is not, or the number of steps
    first = jnp.where(fine, count, jnp.argmin(jnp.isfinite(steps.cost)))

    def take(i: Array, state: TrainState) -> TrainState:
        return step(state, jax.tree.map(lambda x: x[i], batches))[0]

    def again(carry: tuple[Array, TrainState]) -> tuple[Array, TrainState]:
        last = carry[0]
        # one fewer where the last step taken led out of the numbers, though its cost did not show it
        taken = jnp.where(last > first, first, last - 1)
        return taken, lax.fori_loop(0, taken, take, state)

    def unfinished(carry: tuple[Array, TrainState]) -> Bool[Array, ""]:
        taken, end = carry
        return (taken > first) | ((taken > 0) & ~_all_finite(end))

    taken, end = lax.while_loop(unfinished, again, (jnp.asarray(count, first.dtype), end))
    undone = jnp.arange(count) >= taken
    return end, jax.tree.map(lambda x: jnp.where(undone, jnp.nan, x), steps)


def _all_finite(state: TrainState) -> Bool[Array, ""]:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(p)) for p in jax.tree.leaves(state.params)]))
