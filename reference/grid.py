"""The grid of the cross-check: named networks and costs, and their data."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reference.autodiff import Model


class Problem(NamedTuple):
    """A network and cost with a batch size; `targets` selects how Y is drawn."""

    name: str
    model: Model
    m: int
    targets: str


class Data(NamedTuple):
    """One draw of a problem, in float64 but exactly representable in float32."""

    params: tuple[tuple[NDArray, NDArray], ...]
    X: NDArray
    Y: NDArray
    weights: NDArray


# Sizes and m above 1 are pairwise distinct within a problem: a square matrix would hide a missing transpose
PROBLEMS = [
    Problem("logistic regression, one example", Model((5, 1), output="sigmoid"), 1, "binary"),
    Problem("logistic regression", Model((5, 1), output="sigmoid"), 33, "binary"),
    Problem("softmax regression", Model((7, 4), output="softmax"), 9, "indices"),
    Problem("two layers, one example", Model((3, 4, 1), "tanh", "sigmoid"), 1, "binary"),
    Problem("two layers", Model((3, 4, 1), "tanh", "sigmoid"), 10, "binary"),
    Problem("two layers, multilabel", Model((6, 5, 3), "sigmoid", "sigmoid"), 11, "binary"),
    Problem("two layers, soft binary", Model((6, 5, 3), "relu", "sigmoid"), 8, "probabilities"),
    Problem("digits classifier", Model((64, 32, 10)), 50, "indices"),
    Problem("soft targets", Model((8, 6, 4), "relu"), 9, "distributions"),
    Problem("one-hot targets, a zero column", Model((8, 6, 4), "tanh"), 7, "one-hot"),
    Problem("width 1", Model((2, 1, 3), "tanh"), 5, "indices"),
    Problem("one neuron per layer", Model((1, 1, 1, 1), "sigmoid", "sigmoid", "squared_error"), 1, "real"),
    Problem("many neurons, squared error", Model((4, 6, 3, 2), "sigmoid", "sigmoid", "squared_error"), 5, "real"),
    Problem("linear regression", Model((6, 3), output="identity", cost="squared_error"), 10, "real"),
    Problem("relu regression", Model((9, 12, 7, 3), "relu", "identity", "squared_error"), 20, "real"),
    Problem("tanh absolute error", Model((5, 8, 6, 2), "tanh", "identity", "absolute_error"), 13, "real"),
    *(Problem(g, Model((5, 9, 7, 3), g), 12, "indices") for g in ("leaky_relu", "elu", "softplus", "silu", "gelu")),
    Problem("identity layers", Model((5, 9, 7, 3), "identity"), 12, "indices"),
    Problem("an activation for each layer", Model((6, 8, 7, 5, 3), ("relu", "tanh", "gelu"), "softmax"), 10, "indices"),
    Problem("softmax under squared error", Model((6, 8, 4), "tanh", "softmax", "squared_error"), 9, "distributions"),
    Problem("softmax under absolute error", Model((6, 8, 4), "tanh", "softmax", "absolute_error"), 9, "distributions"),
    Problem("sigmoid under absolute error", Model((6, 8, 4), "elu", "sigmoid", "absolute_error"), 9, "probabilities"),
    Problem("deep relu, 12 layers", Model((10, *range(11, 22), 4), "relu"), 24, "indices"),
    Problem("deep tanh, 8 layers", Model((4, *range(5, 12), 3), "tanh"), 14, "indices"),
]

SEEDS = (0, 1, 2, 3)


def draw(problem: Problem, seed: int) -> Data:
    """Draw random parameters at He or Glorot scale, inputs, targets, and weights, every third of them zero."""
    rng = np.random.default_rng([seed, sum(problem.name.encode())])
    sizes, m = problem.model.sizes, problem.m
    params = tuple(
        (
            _single(rng.normal(size=(n, k)) * np.sqrt(2 / (k if g in _HE else k + n))),
            _single(rng.normal(size=(n, 1)) / 10),
        )
        for k, n, g in zip(sizes[:-1], sizes[1:], problem.model.activations, strict=True)
    )
    weights = _single(rng.uniform(0.5, 2, m))
    weights[1::3] = 0
    return Data(params, _single(rng.normal(size=(sizes[0], m))), _targets(rng, problem), weights)


_HE = ("relu", "leaky_relu", "elu", "softplus", "silu", "gelu")


def _targets(rng: np.random.Generator, problem: Problem) -> NDArray:
    n, m = problem.model.sizes[-1], problem.m
    if problem.targets == "indices":
        return rng.integers(n, size=m)
    if problem.targets == "one-hot":
        Y = np.eye(n)[:, rng.integers(n, size=m)]
        Y[:, 0] = 0
        return Y
    draws = {
        "binary": lambda: rng.integers(2, size=(n, m)).astype(float),
        "probabilities": lambda: rng.uniform(size=(n, m)),
        "distributions": lambda: rng.dirichlet(np.ones(n), size=m).T,
        "real": lambda: rng.normal(size=(n, m)),
    }
    return _single(draws[problem.targets]())


def _single(x: NDArray) -> NDArray:
    return x.astype(np.float32).astype(np.float64)
