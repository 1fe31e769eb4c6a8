"""Planted mistakes in the training functions.

As in tests/test_planted_mistakes.py: (module, the line as it is, the line made wrong).
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from reference import autodiff
from reference.compare import largest_error

pytestmark = pytest.mark.usefixtures("unjitted")

MISTAKES = {
    "L2 without its gradient": ("_training/objective", "Layer(dW + objective.l2 * W, db)", "Layer(dW, db)"),
    "L2 of the biases": ("_training/objective", "Layer(dW + objective.l2 * W, db)", "Layer(dW + objective.l2 * W, db + objective.l2)"),
    "L2 without the half": ("_training/objective", "objective.l2 / 2 * sum", "objective.l2 * sum"),
    "dropout without its scale": ("_training/dropout", ".astype(dtype) / (1 - rate)", ".astype(dtype)"),
    "dropout at the other rate": ("_training/dropout", "jax.random.bernoulli(key, 1 - rate, shape)", "jax.random.bernoulli(key, rate, shape)"),
    "dropout forgotten in the backward pass": ("_training/dropout", "return D * g_prime(Z, g.g(Z))", "return g_prime(Z, g.g(Z))"),
    "g' of the dropped output": ("_training/dropout", "return D * g_prime(Z, g.g(Z))", "return D * g_prime(Z, A)"),
    "one mask for all examples": ("_training/dropout", "(n, m), dtype)", "(n, 1), dtype)"),
    "the same masks in each step": ("_training/step", "jax.random.fold_in(state.key, state.step)", "state.key"),
    "gradient of the parameters after the step": ("_training/step", "optimizer.update(grads, state.optimizer_state, state.params)", "optimizer.update(grads, state.optimizer_state, grads)"),
    "optimizer's state not kept": ("_training/step", "TrainState(params, optimizer_state, state.step + 1", "TrainState(params, state.optimizer_state, state.step + 1"),
    "step not counted": ("_training/step", "state.step + 1, state.key", "state.step, state.key"),
    "weights of the batch": ("_training/step", "else jnp.sum(weights), c.dtype)", "else len(weights), c.dtype)"),
    "padding taken for examples": ("_training/dataset", "jnp.where(present, given, 0)", "given"),
    "weights forgotten": ("_training/dataset", "if data.weights is None else", "if True else"),
    "last examples left out": ("_training/epoch", "steps = -(-m // size)", "steps = m // size"),
    "the same order in each epoch": ("_training/epoch", "state.key, 2**32 - 1), state.step)", "state.key, 2**32 - 1), 0)"),
    "undone one step early": ("_training/undo_non_finite", "jnp.argmin(jnp.isfinite(steps.cost)))", "jnp.argmin(jnp.isfinite(steps.cost)) - 1)"),
    "parameters not looked at": ("_training/undo_non_finite", "(taken > 0) & ~_all_finite(end)", "False"),
    "undone to the start": ("_training/undo_non_finite", "jnp.where(last > first, first, last - 1)", "0 * last"),
    "costs of undone steps": ("_training/undo_non_finite", "jnp.where(undone, jnp.nan, x)", "x"),
    "metric without weights": ("_training/evaluate", "both * w, w != 0", "both / values.size, w != 0"),
    "smallest output": ("_training/evaluate", "(jnp.argmax(A, axis=0) ==", "(jnp.argmin(A, axis=0) =="),
    "the first best epoch is the last": ("_training/early_stopping", "sign * value < best - self.min_delta", "sign * value < math.inf"),
    "less is better of the metric": ("_training/early_stopping", '-1.0 if self.monitor == "validation_metric" else 1.0', "1.0"),
    "balanced by examples, not weights": ("_training/class_weight", "np.bincount(index, w)", "np.bincount(index) * 1.0"),
    "mean of means": ("_training/history", "np.asarray(values, np.float64) * np.asarray(weights))) / total", "np.asarray(values, np.float64))) / len(values)"),
    "the rate before the schedule": ("_training/optimizers", "float(rates[-1])", "float(rates[0] * 0)"),
    "norm not clipped": ("_training/optimizers", "if max_norm is None:", "if True:"),
}  # fmt: skip

SIZES, M, SIZE = (4, 6, 5, 3), 7, 4
# the sum of the weights is odd, so that no two batches have equal sums
RNG = np.random.default_rng(3)
X, Y, WEIGHTS = RNG.normal(size=(4, M)), RNG.integers(3, size=M), np.array([1.0, 2, 0, 3, 1, 1, 3])
MODEL = autodiff.Model(SIZES, "tanh")
PARAMS = [(RNG.normal(size=(n, k)) / 2, RNG.normal(size=(n, 1)) / 2) for k, n in itertools.pairwise(SIZES)]
KEY = jax.random.key(1)
L2, RATES = 0.3, (0.25, 0.4)


@functools.cache
def _gradient_by_autodiff() -> Callable:
    """The compiled function (params, X, Y, weights, masks, l2) -> (cost, gradient), under dropout with given masks."""

    def cost(params, X, Y, w, D, l2):
        A = X
        for (W, b), d in zip(params[:-1], D, strict=True):
            A = jnp.tanh(W @ A + b) * d
        losses = optax.softmax_cross_entropy_with_integer_labels((params[-1][0] @ A + params[-1][1]).T, Y)
        return jnp.sum(w * losses) / jnp.sum(w) + l2 / 2 * sum(jnp.sum(W**2) for W, _ in params)

    return jax.jit(jax.value_and_grad(cost))


def _by_autodiff(params, optimizer, batches, masks, l2):
    """The parameters after each of the steps, and the costs. An incomplete batch is filled up with weights of 0."""
    state, costs, seen = optimizer.init(params), [], []
    for rows, D in zip(batches, masks, strict=True):
        w = np.pad(WEIGHTS[rows], (0, SIZE - len(rows)))
        rows = np.resize(rows, SIZE)
        with jax.disable_jit(False):
            c, grads = _gradient_by_autodiff()(params, X[:, rows], Y[rows], w, D, l2)
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        costs.append(c)
        seen.append(params)
    return seen, np.array(costs)


STEPS = -(-M // SIZE)


@functools.cache
def _two_epochs(optimizer):
    """The parameters after two epochs, and the costs."""
    batches, masks = [], []
    # the other one is for the initial weights
    state_key = jax.random.split(KEY)[1]
    for first in (0, STEPS):
        key = jax.random.fold_in(jax.random.fold_in(state_key, 2**32 - 1), first)
        order = np.argsort(jax.random.bits(key, (M,), jnp.uint32))
        for i in range(STEPS):
            batches.append(order[i * SIZE : (i + 1) * SIZE])
            # drawn anew here: layer l's from the l-th of the step's keys
            keys = jax.random.split(jax.random.fold_in(state_key, first + i), len(RATES))
            draws = zip(keys, SIZES[1:], RATES, strict=False)
            masks.append([np.asarray(jax.random.bernoulli(k, 1 - p, (n, SIZE))) / (1 - p) for k, n, p in draws])
    seen, costs = _by_autodiff(PARAMS, optimizer, batches, masks, L2)
    return seen[-1], costs


def _params(bp):
    return tuple(bp.Layer(*map(jnp.asarray, layer)) for layer in PARAMS)


def _start(bp, optimizer):
    return bp.train_state(bp.Network(SIZES, "tanh"), optimizer, KEY, _params(bp))


ADAMW = optax.adamw(0.05)


def _epochs_are_right(bp) -> bool:
    expected, costs = _two_epochs(ADAMW)
    state, seen = _start(bp, ADAMW), []
    epoch = bp.train_epoch(bp.Network(SIZES, "tanh"), ADAMW, SIZE, l2=L2, dropout=RATES)
    for _ in range(2):
        state, found = epoch(state, bp.Dataset(*map(jnp.asarray, (X.T, Y, WEIGHTS))))
        seen.append(found)
    found = [tuple(layer) for layer in state.params], np.concatenate(seen)
    return largest_error(found, (expected, costs)) <= 1e-9 and int(state.step) == 2 * STEPS


SGD = optax.sgd(0.1)


@functools.cache
def _steps_in_order():
    """The parameters before each step of an epoch without dropout, in the order of the examples."""
    batches = [np.arange(M)[i : i + SIZE] for i in range(0, M, SIZE)]
    return [PARAMS, *_by_autodiff(PARAMS, SGD, batches, [[np.ones((n, SIZE)) for n in SIZES[1:-1]]] * STEPS, 0.0)[0]]


def _undone_is_right(bp) -> bool:
    for at, bad_cost in ((1, True), (0, False), (1, False)):
        rate = optax.scale_by_schedule(lambda step, at=at: jnp.where(step == at, jnp.inf, 1.0))
        optimizer = SGD if bad_cost else optax.chain(SGD, rate)
        given = np.where(np.arange(M) == 5, np.nan, X) if bad_cost else X
        data = bp.Dataset(*map(jnp.asarray, (given.T, Y, WEIGHTS)))
        epoch = bp.train_epoch(bp.Network(SIZES, "tanh"), optimizer, SIZE, shuffle=False)
        found, costs = epoch(_start(bp, optimizer), data)
        params = [tuple(layer) for layer in found.params]
        undone = np.isnan(costs) == (np.arange(STEPS) >= at)
        if not (largest_error(params, _steps_in_order()[at]) <= 1e-12 and int(found.step) == at and undone.all()):
            return False
    return True


def _fitted(bp, weights, **options) -> Any:
    """The result of `bp.fit` in an epoch, by default with steps of length 0."""
    options = {"optimizer": optax.set_to_zero(), "epochs": 1, "batch_size": M} | options
    return bp.fit(bp.Network(SIZES, "tanh"), X, Y, weights, params=_params(bp), **options)


def _of_all(weights) -> Any:
    """The outputs and the cost of all examples, by the reference."""
    args: Any = PARAMS, X, Y, weights
    with jax.disable_jit(False):
        return autodiff.forward(MODEL, *args[:2])[0][-1], autodiff.cost(MODEL, *args)


def _costs_and_metrics_are_right(bp) -> bool:
    history = _fitted(bp, WEIGHTS, batch_size=SIZE, validation_data=(X, Y, WEIGHTS)).history
    A, cost = _of_all(WEIGHTS)
    right = np.argmax(np.asarray(A), axis=0) == Y
    accuracy = np.average(right, weights=WEIGHTS)
    assert accuracy != np.mean(right[WEIGHTS != 0])
    return abs(history.cost[0] - cost) < 1e-12 and abs(history.validation_metric[0] - accuracy) < 1e-12


def _best_epochs_are_right(bp) -> bool:
    history = bp.History(cost=[3.0, 1.0, 2.0], validation_metric=[0.1, 0.9, 0.5])
    return [bp.EarlyStopping(monitor=m).best_epoch(history) for m in ("cost", "validation_metric")] == [2, 2]


def _class_weights_are_right(bp) -> bool:
    cost = _fitted(bp, WEIGHTS, class_weight="balanced").history.cost[0]
    return abs(cost - _of_all(WEIGHTS / np.bincount(Y, WEIGHTS)[Y])[1]) < 1e-12


def _rate_and_length_are_right(bp) -> bool:
    rate = optax.linear_schedule(0.1, 0.0, 10)
    moved = _fitted(bp, None, optimizer="sgd", learning_rate=rate, max_gradient_norm=0.01)
    squares = [np.sum((a - b) ** 2) for a, b in zip(*map(jax.tree.leaves, (moved.params, PARAMS)), strict=True)]
    return abs(moved.history.learning_rate[0] - 0.1) < 1e-6 and abs(np.sqrt(sum(squares)) - 0.001) < 1e-9


# by the module of a mistake: it pays only for the checks that notice it
CHECKS: dict[str, tuple[Callable, ...]] = {
    "_training/objective": (_epochs_are_right,),
    "_training/dropout": (_epochs_are_right,),
    # the last one: an epoch's cost is the mean by the weights of the steps
    "_training/step": (_epochs_are_right, _costs_and_metrics_are_right),
    "_training/dataset": (_epochs_are_right,),
    "_training/epoch": (_epochs_are_right,),
    "_training/undo_non_finite": (_undone_is_right,),
    "_training/evaluate": (_costs_and_metrics_are_right,),
    "_training/history": (_costs_and_metrics_are_right,),
    "_training/early_stopping": (_best_epochs_are_right,),
    "_training/class_weight": (_class_weights_are_right,),
    "_training/optimizers": (_rate_and_length_are_right,),
}


@pytest.mark.parametrize("check", dict.fromkeys(check for checks in CHECKS.values() for check in checks))
def test_a_faithful_copy_passes(check, plant):
    assert check(plant())


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_noticed(mistake, plant):
    package = plant(*MISTAKES[mistake])
    try:
        right = all(check(package) for check in CHECKS[MISTAKES[mistake][0]])
    except (TypeError, ValueError):
        # shapes that do not fit: loud enough
        right = False
    assert not right
