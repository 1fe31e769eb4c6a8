"""Planted mistakes in the training functions.

As in tests/test_planted_mistakes.py: (module, the line as it is, the line made wrong).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from planted import check_table

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

SIZES, M = (4, 6, 5, 3), 11
RNG = np.random.default_rng(0)
X, Y, WEIGHTS = RNG.normal(size=(4, M)), RNG.integers(3, size=M), np.array([1.0, 2, 0, 3, 1, 1, 2, 0, 1, 3, 1])
MODEL = autodiff.Model(SIZES, "tanh")


def _by_autodiff(params, batches, optimizer, l2, masks):
    """The parameters after a step for each batch, under dropout with given masks, and the costs."""
    state, costs = optimizer.init(params), []
    for (x, y, w), D in zip(batches, masks, strict=True):

        def cost(params, x=x, y=y, w=w, D=D):
            A = x
            for (W, b), d in zip(params[:-1], D, strict=True):
                A = jnp.tanh(W @ A + b) * d
            Z = params[-1][0] @ A + params[-1][1]
            losses = optax.softmax_cross_entropy_with_integer_labels(Z.T, y)
            return jnp.sum(w * losses) / jnp.sum(w) + l2 / 2 * sum(jnp.sum(W**2) for W, _ in params)

        c, grads = jax.value_and_grad(cost)(params)
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        costs.append(c)
    return params, jnp.stack(costs)


def _masks(key, m, rates):
    """The masks of one step, drawn anew here: layer l's from the l-th of the step's keys."""
    keys = jax.random.split(key, len(rates))
    draws = zip(keys, SIZES[1:], rates, strict=False)
    return [jax.random.bernoulli(k, 1 - rate, (n, m)) / (1 - rate) for k, n, rate in draws]


def _epochs_are_right(bp) -> bool:
    optimizer, l2, rates, size = optax.adamw(0.05), 0.3, (0.25, 0.4), 4
    network = bp.Network(SIZES, "tanh")
    state = bp.train_state(network, optimizer, jax.random.key(1))
    data = bp.Dataset(*map(jnp.asarray, (X.T, Y, WEIGHTS)))
    epoch = bp.train_epoch(network, optimizer, size, l2=l2, dropout=rates)
    params, batches, masks, seen = state.params, [], [], []
    for first in (0, 3):
        key = jax.random.fold_in(jax.random.fold_in(state.key, 2**32 - 1), first)
        order = np.argsort(jax.random.bits(key, (M,), jnp.uint32))
        for i in range(3):
            rows = order[i * size : (i + 1) * size]
            m = len(rows)
            # as many columns as a full batch has, of which the first m are there
            D = _masks(jax.random.fold_in(state.key, first + i), size, rates)
            masks.append([d[:, :m] for d in D])
            batches.append((jnp.asarray(X[:, rows]), jnp.asarray(Y[rows]), jnp.asarray(WEIGHTS[rows])))
    expected, costs = _by_autodiff(params, batches, optimizer, l2, masks)
    for _ in range(2):
        state, found = epoch(state, data)
        seen.append(found)
    return largest_error((state.params, jnp.concatenate(seen)), (expected, costs)) <= 1e-9 and int(state.step) == 6


def _undone_is_right(bp) -> bool:
    network, data = bp.Network(SIZES, "tanh"), bp.Dataset(*map(jnp.asarray, (X.T, Y)))
    for at, bad_cost in ((1, True), (1, False), (2, False)):
        rate = optax.scale_by_schedule(lambda step, at=at: jnp.where(step == at, jnp.inf, 1.0))
        optimizer = optax.sgd(0.1) if bad_cost else optax.chain(optax.sgd(0.1), rate)
        state = bp.train_state(network, optimizer, jax.random.key(1))
        given = data._replace(X=data.X.at[5].set(jnp.nan)) if bad_cost else data
        found, costs = bp.train_epoch(network, optimizer, 4, shuffle=False)(state, given)
        fine, _ = bp.train_epoch(network, optimizer, 4, shuffle=False)(
            state, bp.Dataset(data.X[: 4 * at], data.Y[: 4 * at])
        )
        same = jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), found.params, fine.params))
        if not (same and int(found.step) == at and bool((jnp.isnan(costs) == (jnp.arange(3) >= at)).all())):
            return False
    return True


def _fit_is_right(bp) -> bool:
    network = bp.Network(SIZES, "tanh")
    # of this key's network the accuracy is not what it is without weights
    still = bp.fit(
        network, X, Y, WEIGHTS, optimizer=optax.set_to_zero(), epochs=1, batch_size=4, key=jax.random.key(1),
        validation_data=(X, Y, WEIGHTS),
    )  # fmt: skip
    args: Any = [tuple(layer) for layer in still.params], X, Y, WEIGHTS
    A, cost = np.asarray(autodiff.forward(MODEL, *args[:2])[0][-1]), autodiff.cost(MODEL, *args)
    right = np.average(np.argmax(A, axis=0) == Y, weights=WEIGHTS)
    history = bp.History(cost=[3.0, 1.0, 2.0], validation_metric=[0.1, 0.9, 0.5])
    rules = [bp.EarlyStopping(monitor=m).best_epoch(history) for m in ("cost", "validation_metric")]
    rate = optax.linear_schedule(0.1, 0.0, 10)
    moved = bp.fit(network, X, Y, optimizer="sgd", learning_rate=rate, epochs=1, batch_size=M, max_gradient_norm=0.01)
    begun = bp.train_state(network, optax.sgd(0.1), jax.random.key(0))
    length = optax.tree.norm(jax.tree.map(jnp.subtract, moved.params, begun.params))
    given, balanced = (
        bp.fit(network, X, Y, w, class_weight=c, optimizer="sgd", epochs=1, batch_size=M).history.cost[0]
        for w, c in (
            (WEIGHTS * np.array([1 / WEIGHTS[Y == k].sum() for k in range(3)])[Y], None),
            (WEIGHTS, "balanced"),
        )
    )
    return bool(
        abs(still.history.cost[0] - cost) < 1e-12
        and abs(still.history.validation_metric[0] - right) < 1e-12
        and rules == [2, 2]
        and abs(moved.history.learning_rate[0] - 0.1) < 1e-6
        and abs(length - 0.001) < 1e-9
        and abs(given - balanced) < 1e-12
    )


def _noticed(bp) -> bool:
    try:
        return not (_epochs_are_right(bp) and _undone_is_right(bp) and _fit_is_right(bp))
    except (TypeError, ValueError):
        # shapes that do not fit: loud enough
        return True


test_a_faithful_copy_passes, test_mistake_is_noticed = check_table(MISTAKES, _noticed)
