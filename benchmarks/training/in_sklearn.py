"""Training with scikit-learn's MLPClassifier: a `partial_fit` of all examples, which is one epoch of batches.

It draws the order itself, so it is given the examples in an arrangement that its order turns into the task's. Its Adam
adds eps to sqrt(v) instead of sqrt(v / (1 - beta_2^t)). In the first steps that is as if eps were up to 30 times as
large; gradients are much larger than either. Its learning rate is a float64, which makes its steps float64 as well; the
parameters are float32.
"""

# pyright: reportMissingImports=false

import copy
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn
from sklearn.neural_network import MLPClassifier
from sklearn.utils import shuffle

from benchmarks.training.task import LEARNING_RATE, Task
from benchmarks.training.trainer import FIRST, Outcome, Trainer, outcome

SEED = 0
# The threads of OpenBLAS wait for work for some 0.1 s, in which a step of PyTorch takes twice as long
REST = 0.15


def partial_fit(task: Task) -> Trainer:
    X, Y = (np.asarray(x) for x in task.data)
    template = MLPClassifier(
        task.network.sizes[1:-1],
        solver="adam",
        alpha=0,
        batch_size=task.batch_size,  # pyright: ignore[reportArgumentType]
        learning_rate_init=LEARNING_RATE,
        random_state=SEED,
    )
    # allocates the arrays that the task's parameters are then written into
    template.partial_fit(X, Y, classes=np.arange(task.network.sizes[-1]))
    for W, b, layer in zip(template.coefs_, template.intercepts_, task.state.params, strict=True):
        W[...], b[...] = np.asarray(layer.W).T, np.asarray(layer.b)[:, 0]
    del template._optimizer  # so that its moments start at zero
    drawn: Any = shuffle(np.arange(len(X)), random_state=SEED)

    @functools.cache
    def arranged(epoch: int) -> tuple[np.ndarray, np.ndarray]:
        given = np.empty_like(drawn)
        given[drawn] = task.rows(epoch).ravel()
        return X[given], Y[given]

    def start() -> MLPClassifier:
        return copy.deepcopy(template)

    def epoch(model: MLPClassifier, e: int) -> tuple[MLPClassifier, Any]:
        model.partial_fit(*arranged(e))
        return model, model.loss_

    def read(model: MLPClassifier, cost: Any) -> Outcome:
        layers = zip([W.T for W in model.coefs_], model.intercepts_, strict=True)
        return outcome(first_costs(), layers, task.state.params)

    def first_costs() -> list[float]:
        """The costs of the first batches, each trained on as an epoch, because an epoch gives only its mean cost."""
        again = start()
        return [again.partial_fit(X[rows], Y[rows]).loss_ for rows in task.rows(0)[:FIRST]]

    arranged(0)
    return Trainer(start, epoch, read, _accuracy(task), library=f"scikit-learn {sklearn.__version__}", rest=REST)


def _accuracy(task: Task) -> Callable[[MLPClassifier], float] | None:
    if task.held_out is None:
        return None
    X, Y = (np.asarray(x) for x in task.held_out)

    def accuracy(model: MLPClassifier) -> float:
        return float(model.score(X, Y))

    return accuracy
