"""A mistake as the line that it would lead to."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from manual_bp.checker._scene import Scene
from manual_bp.checker._stage import Stage


class Candidate(NamedTuple):
    """A mistake's key, the line it leads to, and a sentence.

    With a direction the line is that plus k times the direction, k unknown but allowed by `allows`, and the sentence
    has a place {k} for it.
    """

    key: str
    line: np.ndarray
    says: str
    direction: np.ndarray | None = None
    allows: Callable[[float], bool] = lambda k: True


def others(scene: Scene, line: str, names: list[str]) -> list[str]:
    """The lines that can have been taken for this one: none that it goes into itself."""
    later = scene.graph.followers(line)
    return [name for name in names if name != line and name not in later]


def wrong_delta(scene: Scene, stage: Stage, make: Callable[[np.ndarray], np.ndarray | None]) -> Iterator[Candidate]:
    for node in others(scene, stage.line, list(scene.graph.nodes)):
        if node != stage.successor:
            array = make(scene.line(node))
            if array is not None:
                yield Candidate("another line", array, f"d{node} stands where d{stage.successor} should")
