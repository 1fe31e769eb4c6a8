"""A way to train, and the program that is timed: an epoch of it from a fresh state."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import manual_bp as bp
from benchmarks.program import first_call

FIRST = 4  # the number of steps whose costs are compared
# The costs of the first steps, and the change of each parameter over all steps
Outcome = tuple[Any, tuple[bp.Layer, ...]]


class Trainer(NamedTuple):
    """One way to train on a task.

    Attributes:
        start: makes the state before an epoch, the same each time; untimed. An epoch may use it up.
        epoch: (state, number of the epoch) -> (state, costs of its steps).
        read: (state, costs) -> the outcome of an epoch, in the same form for all trainers.
        accuracy: the share of held-out examples that a state classifies correctly.
        library: the name and version of the library it is written with, unless that is this one or optax.
        rest: seconds for which its threads keep a core busy after a call, waiting for more work.
        may_fail: the errors by which the first call shows that it cannot run here.
    """

    start: Callable[[], Any]
    epoch: Callable[[Any, int], tuple[Any, Any]]
    read: Callable[[Any, Any], Outcome]
    accuracy: Callable[[Any], float] | None = None
    library: str | None = None
    rest: float = 0.0
    may_fail: tuple[type[Exception], ...] = ()


def one_epoch(trainer: Trainer, state: Any) -> Any:
    return trainer.epoch(state, 0)


@dataclasses.dataclass(eq=False)
class Training:
    """The program that trains. Every call does the same work on the same numbers.

    A step donates its state or changes it in place, so the state is made anew before each call. If calls continued
    where the previous one ended, the examples would soon be learnt, and numbers close to zero would be timed.
    """

    trainer: Trainer
    work: Callable[[Trainer, Any], Any] = one_epoch
    facts: Callable[[Any], dict[str, Any]] = lambda result: {}  # more of a row, from the result of the first call
    exact: Trainer | None = None  # the trainer of the same task in float64
    state: Any = None

    @functools.cached_property
    def preparation(self) -> dict[str, Any]:
        """The time of the first call, which compiles."""
        self.ready()
        record, result = first_call(self, self.trainer.library, self.trainer.may_fail)
        return record if "not_run" in record else record | self.facts(result)

    def ready(self) -> None:
        self.state = jax.block_until_ready(self.trainer.start())

    def __call__(self) -> Any:
        state, self.state = self.state, None
        return self.work(self.trainer, state)

    def rest(self) -> None:
        time.sleep(self.trainer.rest)

    def result(self) -> Outcome:
        """The outcome of one epoch, its changes computed by `exact` if there is one.

        In float32 a unit whose input is within rounding of 0 is active in one program and not in another, and Adam's
        steps are as large for a small gradient as for a large one. After 64 steps the changes of two correct programs
        were seen to differ by 0.6, in float64 by 2e-15.
        """
        costs, change = self.trainer.read(*one_epoch(self.trainer, self.trainer.start()))
        if self.exact is not None:
            with jax.enable_x64(True):
                _, change = self.exact.read(*one_epoch(self.exact, self.exact.start()))
        return costs, change


def outcome(costs: Any, layers: Iterable[tuple[Any, Any]], start: Sequence[bp.Layer]) -> Outcome:
    """The outcome of an epoch that ends with W and b in any type of array, b of any shape.

    The changes are compared, not the parameters, which move by only a thousandth in a step.
    """
    pairs = zip(layers, start, strict=True)
    change = tuple(bp.Layer(_minus(W, W_0), _minus(b, b_0)) for (W, b), (W_0, b_0) in pairs)
    return jnp.asarray(np.asarray(costs)[..., :FIRST], jnp.float32), change


def _minus(a: Any, b: Any) -> jax.Array:
    return jnp.asarray(np.asarray(a).reshape(b.shape) - np.asarray(b))
