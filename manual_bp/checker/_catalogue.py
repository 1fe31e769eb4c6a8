"""The catalogue of mistakes: for each, what the line would be if that mistake had been made in it.

A candidate is an array to compare the returned line with, or a direction that was added to the right line with an
unknown coefficient. They are made from the equation that the line should have been (see _stage), so that the names in
a diagnosis are those of the cost. Factors, zeros and shapes are told without candidates (see _match).
"""

import math
from collections.abc import Iterator

import numpy as np

from manual_bp.checker._activation_mistakes import activation, output
from manual_bp.checker._candidate import Candidate, others
from manual_bp.checker._linear_mistakes import back_through_weights, bias_gradient, weight_gradient
from manual_bp.checker._output import Output
from manual_bp.checker._scene import Scene
from manual_bp.checker._stage import Elementwise, Product, Stage, Sum, stages


def candidates(scene: Scene, line: str) -> Iterator[Candidate]:
    """What the mistakes of the catalogue would make of a node's or root's line, the likeliest first."""
    shape = scene.expected[line].shape
    for c in _candidates(scene, line):
        # a column for a vector is a matter of how the products are formed here
        vector = len(shape) < 2 and c.line.size == math.prod(shape) and c.line.ndim == 2
        c = c._replace(line=c.line.reshape(shape)) if vector else c
        if c.direction is not None and c.direction.size == c.line.size:
            yield c._replace(direction=c.direction.reshape(c.line.shape))
        elif c.direction is None:
            yield c


def _candidates(scene: Scene, line: str) -> Iterator[Candidate]:
    expected = scene.expected[line]
    if expected.ndim == 2:
        yield Candidate("transposed", expected.T, f"d{line} is transposed")
    found = stages(scene, line)
    for stage in found:
        rest = expected - stage.expected  # what comes by other ways
        for c in _of_stage(scene, stage):
            shaped = c.line.shape == rest.shape
            yield c._replace(line=c.line + rest) if shaped and len(found) > 1 else c
    yield from _extra_terms(scene, line)
    for other in others(scene, line, [*scene.graph.nodes, *scene.graph.params]):
        if other not in scene.graph.successors[line] and scene.expected[other].shape == expected.shape:
            yield Candidate("another line", scene.line(other), f"it is d{other}'s value")


def _of_stage(scene: Scene, stage: Stage) -> Iterator[Candidate]:
    match stage.form:
        case Product() as form:
            through_weights = stage.line in scene.graph.nodes and form.name in scene.graph.params
            of = back_through_weights if through_weights else weight_gradient
            yield from of(scene, stage, form)
        case Sum(axes):
            yield from bias_gradient(scene, stage, axes)
        case Elementwise() as form:
            yield from activation(scene, stage, form)
        case Output() as form:
            yield from output(scene, stage, form)


def _extra_terms(scene: Scene, line: str) -> Iterator[Candidate]:
    """A term in proportion to the parameter itself: that of a regulariser."""
    expected = scene.expected[line]
    if line in scene.graph.params:
        value = scene.values[line].astype(np.float64)
        yield Candidate(
            "extra term", expected, f"it has {{k}} {line} too many: a regulariser's term that the cost has not", value
        )
        yield Candidate(
            "extra term",
            expected,
            f"it has {{k}} sign({line}) too many: a regulariser's term that the cost has not",
            np.sign(value),
        )
