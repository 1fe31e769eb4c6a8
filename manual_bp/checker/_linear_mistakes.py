"""Mistakes in the lines around a product: dW = dZ A^T, db = sum of dZ, dA = W^T dZ."""

from collections.abc import Iterator

import numpy as np

from manual_bp.checker._candidate import Candidate, wrong_delta
from manual_bp.checker._output import output_activations
from manual_bp.checker._scene import Scene
from manual_bp.checker._stage import Product, Stage, activation_of, products


def weight_gradient(scene: Scene, stage: Stage, form: Product) -> Iterator[Candidate]:
    """dW = dZ A^T, made of other factors or put together otherwise."""
    D, value = stage.D, scene.values[form.name]
    for name, other in (scene.values | output_activations(scene)).items():
        if name != form.name and name not in scene.graph.params and other.ndim == value.ndim:
            weighted_input = name in scene.graph.nodes and activation_of(scene, name) == form.name
            key = "Z for A" if weighted_input else "wrong activation index"
            array = form.of(D, other)
            if array is not None:
                yield Candidate(key, array, f"{name} stands where {form.name} should")
    yield from wrong_delta(scene, stage, lambda line: form.of(line, value))
    yield from _put_together(stage, D, value, f"d{stage.successor}", form.name)


def bias_gradient(scene: Scene, stage: Stage, axes: tuple[int, ...]) -> Iterator[Candidate]:
    D = stage.D
    d = f"d{stage.successor}"
    yield Candidate("unsummed", D, f"{d} is not summed over the examples")
    for other in range(D.ndim):
        if (other,) != axes:
            for keep in (True, False):
                says = f"{d} is summed over axis {other}, the units, not over the examples"
                yield Candidate("wrong axis", D.sum(axis=other, keepdims=keep), says)
    yield Candidate("wrong axis", D.sum(), f"{d} is summed over everything")
    yield Candidate("wrong axis", np.broadcast_to(D.sum(), stage.expected.shape), f"{d} is summed over everything")
    yield from wrong_delta(
        scene, stage, lambda line: line.sum(axis=axes).reshape(stage.expected.shape) if line.shape == D.shape else None
    )


def back_through_weights(scene: Scene, stage: Stage, form: Product) -> Iterator[Candidate]:
    """dA = W^T dZ, made of other factors or put together otherwise."""
    D, W = stage.D, form.name
    value = scene.values[W]
    for name in scene.graph.params:
        other = scene.values[name]
        if name != W and other.ndim == value.ndim:
            array = form.of(D, other)
            if array is not None:
                yield Candidate("W of another layer", array, f"{name} stands where {W} should")
    # dW as it was returned, wrong or not; as it should be, if it was not
    gradient = scene.found.get(W, scene.expected[W])
    dW, says = form.of(D, gradient), f"the gradient d{W} stands where the weights {W} should"
    if dW is not None:
        yield Candidate("dW for W", dW, says)
        updated = f"{W} had already been updated: the line has {W} - {{k}} d{W} where the forward pass had {W}"
        yield Candidate("updated W", stage.expected, updated, -dW, lambda k: 0 < k < 100)
    for array in _element_wise(D, gradient, stage.expected.shape):
        yield Candidate("dW for W", array, f"{says}, and the two are multiplied element by element")
    yield from wrong_delta(scene, stage, lambda line: form.of(line, value))
    yield from _put_together(stage, D, value, f"d{stage.successor}", W)
    for before in weighted_inputs_of(scene, stage.line):
        says = f"g'({before}) is applied here already; it belongs to d{before}"
        G = scene.through(stage.line, np.ones(stage.expected.shape))[before]
        if G.shape == stage.expected.shape:
            yield Candidate("g' twice", stage.expected * G, says)


def weighted_inputs_of(scene: Scene, node: str) -> list[str]:
    """The nodes that feed a node with their own shape: the weighted input of an activation."""
    shape = scene.values[node].shape
    return [
        n
        for n, fed in scene.graph.successors.items()
        if node in fed and n in scene.graph.nodes and scene.values[n].shape == shape
    ]


def _put_together(stage: Stage, P: np.ndarray, Q: np.ndarray, p: str, q: str) -> Iterator[Candidate]:
    for form, array in products(P, Q, q):
        operands = [p + ".T" * form.flip_line, q + ".T" * form.flip]
        text = " @ ".join(operands if form.line_first else operands[::-1])
        yield Candidate("missing transpose", array, f"it is {text}: a transpose is missing or too many")
    for array in _element_wise(P, Q, stage.expected.shape):
        says = f"{p} and {q} are multiplied element by element, not as matrices"
        yield Candidate("element-wise for matrix product", array, says)


def _element_wise(P: np.ndarray, Q: np.ndarray, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Every element-wise product that broadcasting allows, broadcast to the line's shape as its next factor would."""
    for left, right in ((P, Q), (P, Q.T), (P.T, Q)):
        try:
            array = left * right
        except ValueError:
            continue
        try:
            yield np.broadcast_to(array, shape)
        except ValueError:
            yield array
