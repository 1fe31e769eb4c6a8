"""Training from data to parameters."""

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array

from manual_bp._checks import numbers
from manual_bp._checks.arguments import check_data_mesh
from manual_bp._machine.meshes import on_mesh, spread_in_blocks
from manual_bp._network import Network, Params
from manual_bp._training import source as sources
from manual_bp._training.checkpoint import Checkpoint, Progress
from manual_bp._training.early_stopping import EarlyStopping, rule_of
from manual_bp._training.evaluate import Metric, evaluate, metric_of
from manual_bp._training.examples import examples
from manual_bp._training.history import History, mean
from manual_bp._training.objective import objective
from manual_bp._training.optimizers import LearningRate, learning_rate_of, optimizer_of, with_learning_rate
from manual_bp._training.progress import bar
from manual_bp._training.state import TrainState, check_state, train_state


class Epoch(NamedTuple):
    """What a callback is told after each epoch.

    Attributes:
        number: of the epoch, counted from 1.
        state: after it.
        history: of all epochs so far.
    """

    number: int
    state: TrainState
    history: History


class FitResult(NamedTuple):
    """What training gives.

    Attributes:
        params: of the best epoch under early stopping with restore_best, else those at the end; always finite.
        state: at the end, to go on with: after the last epoch, or before the step that was not finite.
        history: epoch by epoch.
        best_epoch: the best one under early stopping with restore_best, else the last whole one, counted from 1; 0 if
            there is none.
        stopped: why training ended: "epochs", "early stopping", "callback" or "not finite".
    """

    params: Params
    state: TrainState
    history: History
    best_epoch: int
    stopped: str


def fit(
    network: Network,
    X: Array | np.ndarray | Iterable | Callable[[int], Iterable],
    Y: Array | np.ndarray | None = None,
    weights: Array | np.ndarray | None = None,
    *,
    optimizer: str | optax.GradientTransformation = "adam",
    learning_rate: LearningRate | None = None,
    batch_size: int = 32,
    epochs: int = 100,
    shuffle: bool = True,
    key: Array | None = None,
    dtype: jax.typing.DTypeLike = float,
    params: Params | None = None,
    state: TrainState | None = None,
    l2: float = 0.0,
    dropout: float | Sequence[float] = 0.0,
    max_gradient_norm: float | None = None,
    compute_dtype: jax.typing.DTypeLike | None = None,
    class_weight: Mapping[int, float] | str | None = None,
    validation_data: tuple | None = None,
    validation_fraction: float | None = None,
    metric: Metric | str | None = "auto",
    early_stopping: EarlyStopping | None = None,
    callbacks: Sequence[Callable[[Epoch], Any]] = (),
    progress: bool = False,
    checkpoint: str | PathLike | None = None,
    checkpoint_every: int = 1,
    resume: bool = False,
    mesh: Mesh | None = None,
) -> FitResult:
    """Trains a network by minibatches, with the hand-written gradient.

    An epoch is one compiled program; the same options compile nothing again. The same key gives the same result, bit
    for bit, on one CPU device. Training ends, with a RuntimeWarning that names it, at a step whose cost or parameters
    are not finite; what is returned is from before it.

    Args:
        network: the description.
        X: inputs, shape (n_0, m), floats: columns are examples. A NumPy array, or the transpose of one that has the
            examples in rows, is not copied but for the device. A memory-mapped one, or one that takes more than half
            of the device's memory, is read batch by batch, each while the one before it is computed on. Or, without Y,
            an iterable of batches (X, Y) or (X, Y, weights), read anew for each epoch, or a function of the epoch,
            counted from 0, that gives one.
        Y: targets, shape (n_L, m), or class indices, shape (m,).
        weights: example weights, shape (m,), from 0 on. A step descends the weighted mean over its batch. Examples of
            weight 0 are absent.
        optimizer: adam, adagrad, lion, momentum, nadam, nesterov (both with 0.9), rmsprop or sgd; or any of optax's,
            made once: another object compiles anew.
        learning_rate: of an optimizer given by name, 0.001 unless given, or a schedule of optax's.
        batch_size: 1 or more.
        epochs: 1 or more; those of a training that is resumed count, those that led to `state` do not.
        shuffle: a new order of the examples in each epoch.
        key: of `jax.random.key`, 0 unless given: of initial weights, order, dropout and validation_fraction. A `state`
            has its own.
        dtype: of the parameters, as in `bp.init`.
        params: to start from, such as those of a `bp.load` or of an earlier result, copied; drawn unless given.
        state: to go on from, such as an earlier result's; it is not changed. Network and optimizer have to be those
            it was made with, max_gradient_norm included. It keeps its learning rate unless one is given.
        l2, dropout, compute_dtype: those of `bp.train_step`.
        max_gradient_norm: a gradient with a larger norm is scaled down to it (optax.clip_by_global_norm).
        class_weight: a weight for each class index (1 where there is none), or "balanced": m / (classes * m of the
            class). They multiply `weights`.
        validation_data: (X, Y) or (X, Y, weights), evaluated after each epoch.
        validation_fraction: of the examples, drawn at random and held out, instead.
        metric: of the validation data, that of `bp.evaluate`.
        early_stopping: a `bp.EarlyStopping`.
        callbacks: functions of a `bp.Epoch`, called after each; training ends if one returns True.
        progress: whether a bar is shown (extra `train`).
        checkpoint: the path of one file, such as "training.safetensors", to which the training is saved after every
            `checkpoint_every` epochs and the last. A process killed during a save leaves the file as it was before.
        resume: whether training goes on from that file; it begins anew if there is none. Without it, a file that holds
            a training is refused. With the same data and options, which are not saved, the result is bit for bit that
            of a training without interruption. Other data or options take effect from there on.
        mesh: one with an axis "data", over which each batch is spread, see `docs/devices.md`. State and examples are
            copied to every device, but for a `state` that lies on the mesh already, see `bp.place`.

    Returns:
        The parameters and what is known of the training, a `bp.FitResult`.

    Raises:
        TypeError, ValueError: an argument that does not fit, saying which and what was expected; a checkpoint that is
            damaged, of another network or optimizer, or that cannot be written.
        ImportError: the extra `train` is needed, and is not there.
    """
    goal = objective(network, l2, dropout, compute_dtype)
    descent = optimizer_of(optimizer, learning_rate, max_gradient_norm)
    batch_size = numbers.count("batch_size", batch_size)
    epochs, measure = numbers.count("epochs", epochs), metric_of(network, metric)
    kept = Checkpoint(checkpoint, checkpoint_every, network)
    key = jax.random.key(0) if key is None else key
    _callable(callbacks)
    check_data_mesh(mesh)
    if state is None:
        state = train_state(network, descent, key, params, dtype)
        if isinstance(optimizer, str) and learning_rate is None:
            state = with_learning_rate(state, 1e-3)
    elif params is not None:
        raise ValueError("params and state are both given; expected one of the two")
    check_state(state, network, descent)
    begun: TrainState = on_mesh(state, mesh)
    data = examples(network, X, Y, weights, class_weight, validation_data, validation_fraction, begun)
    rule = rule_of(early_stopping, data.validation is not None, measure is not None)
    # an input of the programs: another value compiles nothing
    penalty = np.asarray(goal.l2, begun.params[0].W.dtype) if goal.l2 else None
    plan = sources.Plan(goal.with_l2(0.0), descent, batch_size, bool(shuffle), penalty, mesh)
    source = sources.source(plan, data.training, begun)
    validation = [] if data.validation is None else spread_in_blocks(data.validation, mesh, 8192)

    state, best, history = kept.begin(Progress(begun, begun.params, History()), resume)
    if learning_rate is not None:
        state = with_learning_rate(state, learning_rate)
    stopped = _ended(rule, history, epochs)
    with bar(epochs, len(history), progress) as show:
        while stopped is None:
            began, before = time.perf_counter(), int(state.step)
            state, steps = source(state, len(history))
            if not np.isfinite(steps.cost).all():
                stopped = "not finite"
                _warn(len(history) + 1, int(state.step), before)
                break
            cost, score = _validated(network, state.params, validation, measure)
            history.append(
                cost=mean(steps.cost, steps.weight),
                gradient_norm=float(np.mean(steps.gradient_norm, dtype=np.float64)),
                validation_cost=cost,
                validation_metric=score,
                learning_rate=learning_rate_of(state.optimizer_state),
                seconds=time.perf_counter() - began,
            )
            if rule.best_epoch(history) == len(history):
                best = state.params
            show(history)
            told = [callback(Epoch(len(history), state, history)) for callback in callbacks]
            stopped = "callback" if any(answer is True for answer in told) else _ended(rule, history, epochs)
            kept.save(Progress(state, best, history), last=stopped is not None)
    if rule.restore_best:
        if history and not rule.best_epoch(history):
            warnings.warn(
                f"{rule.monitor} was finite after no epoch: the parameters returned are those it began with",
                RuntimeWarning,
                stacklevel=2,
            )
        return FitResult(best, state, history, rule.best_epoch(history), stopped)
    return FitResult(state.params, state, history, len(history), stopped)


def _callable(callbacks: Any) -> None:
    if not isinstance(callbacks, Sequence) or not all(map(callable, callbacks)):
        raise TypeError(f"callbacks is {callbacks!r}; expected a list of functions of a bp.Epoch")


def _ended(rule: EarlyStopping, history: History, epochs: int) -> str | None:
    if rule.stalled(history):
        return "early stopping"
    return "epochs" if len(history) >= epochs else None


def _validated(
    network: Network, params: Params, blocks: list[tuple], metric: Metric | None
) -> tuple[float | None, float | None]:
    if not blocks:
        return None, None
    found = [evaluate(network, params, *block, metric=metric) for *block, _ in blocks]
    totals = np.array([total for *_, total in blocks])
    cost = mean(np.array([float(each.cost) for each in found]), totals)
    return cost, None if metric is None else mean(np.array([each.metric for each in found], float), totals)


def _warn(epoch: int, taken: int, before: int) -> None:
    warnings.warn(
        f"step {taken + 1} (step {taken - before + 1} of epoch {epoch}) has a cost or leads to parameters that are not "
        f"finite: training ended with those after {taken} steps. A lower learning_rate or a max_gradient_norm may "
        "help, unless the batch itself is not finite",
        RuntimeWarning,
        stacklevel=3,
    )
