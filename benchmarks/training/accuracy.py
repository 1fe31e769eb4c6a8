"""Training until a given share of the held-out digits is classified correctly, checked after each epoch."""

from typing import Any, NamedTuple

from benchmarks.training.trainer import Trainer

SIZES, BATCH_SIZE = (64, 128, 10), 32
GOAL = 0.97
MOST_EPOCHS = 60


class Reached(NamedTuple):
    state: Any
    epochs: int
    accuracy: float


def to_accuracy(trainer: Trainer, state: Any) -> Reached:
    """Train until the goal is reached, or for the most epochs allowed."""
    assert trainer.accuracy is not None
    epoch, accuracy = 0, 0.0
    for epoch in range(MOST_EPOCHS):
        state, _ = trainer.epoch(state, epoch)
        accuracy = trainer.accuracy(state)
        if accuracy >= GOAL:
            break
    return Reached(state, epoch + 1, accuracy)


def facts(reached: Reached) -> dict[str, Any]:
    """The entries of a row in addition to the times."""
    found = {"epochs": reached.epochs, "accuracy": round(reached.accuracy, 5)}
    if reached.accuracy < GOAL:
        found["not_run"] = f"{GOAL:.0%} of the held-out digits not reached in {MOST_EPOCHS} epochs"
    return found
