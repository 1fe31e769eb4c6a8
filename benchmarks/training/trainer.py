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

FIRST = 4  # steps whose costs are compared
# Their costs, and by how much each parameter changed over all steps
Outcome = tuple[Any, tuple[bp.Layer, ...]]


class Trainer(NamedTuple):
    """One way to train on a task.

    Attributes:
        start: what an epoch starts from, the same each time; untimed. An epoch may use it up.
        epoch: (state, number of the epoch) -> (state, costs of its steps).
        read: what an epoch gave, the same of all trainers.
        accuracy: of a state, on the examples held out.
        library: the name and version of the library it is written with, if not of this one or optax.
        rest: seconds after a call in which its threads still keep a core busy, waiting for more to do.
        may_fail: what it raises on the first call where it cannot run here.
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


def no_facts(found: Any) -> dict[str, Any]:
    return {}


@dataclasses.dataclass(eq=False)
class Training:
    """A trainer as a program of a cell. Every call does the same work, on the same numbers.

    Steps donate their state or change it in place, so that it has to be made anew before each call. Went it on from
    where the call before ended, the examples would soon be learnt, and what was timed were numbers near zero.
    """

    trainer: Trainer
    run: Callable[[Trainer, Any], Any] = one_epoch
    facts: Callable[[Any], dict[str, Any]] = no_facts  # what a row tells of the first call
    exact: Trainer | None = None  # of the same task in float64
    state: Any = None

    @functools.cached_property
    def preparation(self) -> dict[str, Any]:
        """The first call, which compiles what there is to compile."""
        self.ready()
        library = {} if self.trainer.library is None else {"library": self.trainer.library}
        start = time.perf_counter()
        try:
            found = jax.block_until_ready(self())
        except self.trainer.may_fail as error:
            return library | {"not_run": f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"}
        return library | {"first_s": round(time.perf_counter() - start, 6)} | self.facts(found)

    def ready(self) -> None:
        self.state = jax.block_until_ready(self.trainer.start())

    def __call__(self) -> Any:
        state, self.state = self.state, None
        return self.run(self.trainer, state)

    def rest(self) -> None:
        time.sleep(self.trainer.rest)

    def result(self) -> Outcome:
        """Of one epoch, whatever is timed: the costs of its first steps, and the changes, `exact`'s if there is one.

        In float32 a unit within rounding of its kink is on in one program and off in another, and Adam makes as large a
        step of a small gradient as of a large one: the changes of two programs that are both right were seen 0.6 apart
        after 64 steps, and 2e-15 in float64.
        """
        costs, change = self.trainer.read(*one_epoch(self.trainer, self.trainer.start()))
        if self.exact is not None:
            with jax.enable_x64(True):
                _, change = self.exact.read(*one_epoch(self.exact, self.exact.start()))
        return costs, change


def outcome(costs: Any, layers: Iterable[tuple[Any, Any]], start: Sequence[bp.Layer]) -> Outcome:
    """Of W and b in any array type, b of any shape.

    What is compared is the change: of parameters that move by a thousandth a step, most is where they started.
    """
    pairs = zip(layers, start, strict=True)
    change = tuple(bp.Layer(_minus(W, W_0), _minus(b, b_0)) for (W, b), (W_0, b_0) in pairs)
    return jnp.asarray(np.asarray(costs)[..., :FIRST], jnp.float32), change


def _minus(a: Any, b: Any) -> jax.Array:
    return jnp.asarray(np.asarray(a).reshape(b.shape) - np.asarray(b))
