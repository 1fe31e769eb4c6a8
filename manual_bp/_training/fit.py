"""Training from data to parameters."""

import functools
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jax.sharding import Mesh
from jaxtyping import Array

from manual_bp._checks import numbers
from manual_bp._checks.arguments import check_data_mesh
from manual_bp._kernel.takes import Kernel
from manual_bp._machine.meshes import on_mesh, spread_in_blocks
from manual_bp._network import Network, Params
from manual_bp._training.checkpoint import Checkpoint, Progress
from manual_bp._training.early_stopping import EarlyStopping, rule_of
from manual_bp._training.epoch_runner import epoch_runner
from manual_bp._training.evaluate import Metric, evaluate_blocks, metric_of
from manual_bp._training.history import FitResult, History, weighted_mean
from manual_bp._training.loop import Epoch, EpochResult, Training, check_callbacks, run_epochs
from manual_bp._training.objective import objective
from manual_bp._training.optimizers import LearningRate, learning_rate_of, optimizer_of, with_learning_rate
from manual_bp._training.state import TrainState, check_state, train_state
from manual_bp._training.training_data import training_data

F = TypeVar("F", bound=Callable[..., Any])


def _explaining_lr(fit: F) -> F:
    """`fit` with a clear error for `lr`; to type checkers the signature stays that of `fit`."""

    @functools.wraps(fit)
    def explaining(*args: Any, **options: Any) -> Any:
        if "lr" in options:
            raise TypeError(f"fit has no argument lr; pass learning_rate={options['lr']!r}")
        return fit(*args, **options)

    return cast(F, explaining)


@_explaining_lr
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
    kernel: Kernel = "auto",
) -> FitResult:
    """Trains a network by minibatches, with the hand-written gradient.

    An epoch is one compiled program, and the same options compile nothing again. On one CPU device the same key gives
    the same result, bit for bit. If a step's cost or parameters are not finite, training ends with a RuntimeWarning
    that names the step, and the parameters from before that step are returned.

    Example:
        >>> network = bp.Network((3, 8, 3))
        >>> X, Y = np.eye(3, dtype="float32"), np.arange(3)  # columns are examples; Y holds class indices
        >>> result = bp.fit(network, X, Y, learning_rate=0.1, epochs=50)
        >>> result.history.cost[-1] < 0.1, bp.predict(network, result.params, jnp.asarray(X)).argmax(axis=0).tolist()
        (True, [0, 1, 2])

    Args:
        network: the description.
        X: inputs, floats of shape (n_0, m): columns are examples. A NumPy array, or the transpose of one with examples
            in rows, is copied once, to the device. An array that is memory-mapped, or takes more than half of the
            device's memory, is streamed: a batch is read while the one before it is computed on. Without Y, an iterable
            of batches (X, Y) or (X, Y, weights), read anew in each epoch, or a function of the epoch, counted from 0,
            that returns one.
        Y: targets, shape (n_L, m), or class indices, shape (m,).
        weights: example weights, shape (m,), non-negative. A step descends the weighted mean over its batch. Examples
            of weight 0 are absent.
        optimizer: adam, adagrad, lion, momentum, nadam, nesterov (both with 0.9), rmsprop or sgd; or an optax
            optimizer, made once: another object compiles anew.
        learning_rate: the rate of an optimizer given by name, 0.001 by default, or an optax schedule.
        batch_size: the number of examples in a batch, 1 or more.
        epochs: the number of epochs, 1 or more, including those of a resumed training, but not those before `state`.
        shuffle: whether each epoch has a new order of the examples.
        key: a key for initial weights, order, dropout and validation_fraction, `jax.random.key(0)` by default. Not used
            with `state`, which has its own.
        dtype: the dtype of the initial parameters, as in `bp.init`; not used with `params` or `state`.
        params: parameters to start from, such as those of `bp.load` or of an earlier result, which are copied.
        state: a state to continue from, such as an earlier result's; it is not changed. Network and optimizer must be
            those it was made with, including max_gradient_norm. It keeps its learning rate unless one is given.
        l2, dropout, compute_dtype: as in `bp.train_step`.
        max_gradient_norm: the norm to which a larger gradient is scaled down (optax.clip_by_global_norm).
        class_weight: a dict of weights by class index (1 for others), or "balanced": m / (K m_c) for class c, with K
            classes and m_c of the m examples in it (sums of weights, if given). They multiply `weights`.
        validation_data: (X, Y) or (X, Y, weights), evaluated after each epoch.
        validation_fraction: instead, the fraction of the examples that is drawn at random and held out.
        metric: the metric of the validation data, as in `bp.evaluate`.
        early_stopping: a `bp.EarlyStopping`.
        callbacks: functions of a `bp.Epoch`, called after each epoch; training ends if one returns True.
        progress: whether a progress bar is shown (extra `train`).
        checkpoint: the path of one file, such as "training.safetensors", to which the training is saved after every
            `checkpoint_every` epochs and the last. A process killed during a save leaves the file as it was before.
        resume: whether training goes on from that file; it begins anew if there is none. Without it, a file that holds
            a training is refused. With the same data and options, which are not saved, the result is bit for bit that
            of a training without interruption. Other data or options take effect from there on.
        mesh: a mesh with an axis "data", over which each batch is spread; see `docs/devices.md`. State and examples are
            copied to every device, except for a `state` that lies on the mesh already; see `bp.place`.
        kernel: as in `bp.train_epoch`.

    Raises:
        TypeError, ValueError: an argument that does not fit.
        CheckpointError: (a ValueError) the checkpoint is damaged, belongs to another network or optimizer, or cannot be
            written.
        ImportError: the extra `train` is needed and missing.
    """
    goal = objective(network, l2, dropout, compute_dtype, kernel, mesh)
    descent = optimizer_of(optimizer, learning_rate, max_gradient_norm)
    batch_size = numbers.count("batch_size", batch_size)
    epochs, measure = numbers.count("epochs", epochs), metric_of(network, metric)
    kept = Checkpoint(checkpoint, checkpoint_every, network)
    check_callbacks(callbacks)
    check_data_mesh(mesh)
    # under jax.jit the result of any operation is traced
    if any(isinstance(x, Tracer) for x in [X, Y, weights, key, jnp.zeros(()), *jax.tree.leaves((params, state))]):
        raise TypeError(
            "fit was called inside of jax.jit, jax.vmap or another transformation of JAX; call it outside, as it "
            "compiles its own programs. To train many networks at once, use jax.vmap of bp.train_epoch"
        )
    if state is None:
        state = train_state(network, descent, jax.random.key(0) if key is None else key, params, dtype)
        if isinstance(optimizer, str) and learning_rate is None:
            state = with_learning_rate(state, 1e-3)
    elif params is not None:
        raise ValueError("params and state are both given; expected one of the two")
    check_state(state, network, descent)
    begun: TrainState = on_mesh(state, mesh)
    data, held_out = training_data(network, X, Y, weights, class_weight, validation_data, validation_fraction, begun)
    rule = rule_of(early_stopping, held_out is not None, measure is not None)
    dtype = begun.params[0].W.dtype
    # an input of the programs: another value compiles nothing
    penalty = np.asarray(goal.l2, dtype) if goal.l2 else None
    take_steps = epoch_runner(goal.with_l2(0.0), penalty, descent, batch_size, bool(shuffle), mesh, data, dtype)
    validation = [] if held_out is None else spread_in_blocks(held_out, mesh, 8192)

    state, best, history = kept.begin(Progress(begun, begun.params, History()), resume)
    if learning_rate is not None:
        state = with_learning_rate(state, learning_rate)
    training = Training(state, best, history)

    def run_epoch(state: TrainState, done: int) -> EpochResult:
        end, steps = take_steps(state, done)
        if not np.isfinite(steps.cost).all():
            taken = int(end.step)
            warnings.warn(
                f"step {taken + 1} (step {taken - int(state.step) + 1} of epoch {done + 1}) has a cost or leads to "
                "parameters that are not finite: training ended with the parameters from before it. Try a lower "
                "learning_rate or a max_gradient_norm, unless the batch itself is not finite",
                RuntimeWarning,
                stacklevel=5,  # the call of fit: above are run_epoch, run_epochs, fit and its wrapper
            )
            return end, None
        return end, {
            "cost": weighted_mean(steps.cost, steps.weight),
            "gradient_norm": float(np.mean(steps.gradient_norm, dtype=np.float64)),
            "learning_rate": learning_rate_of(end.optimizer_state),
        }

    def reason_to_stop() -> str | None:
        return "early stopping" if rule.stalled(history) else "epochs" if len(history) >= epochs else None

    def after_epoch(asked: bool) -> str | None:
        stopped = "callback" if asked else reason_to_stop()
        kept.save(Progress(training.state, training.best, history), last=stopped is not None)
        return stopped

    training.stopped = reason_to_stop()
    run_epochs(
        training,
        run_epoch=run_epoch,
        validate=lambda params: evaluate_blocks(network, params, validation, measure),
        is_best=lambda: rule.best_epoch(history) == len(history),
        after_epoch=after_epoch,
        callbacks=callbacks,
        epochs=epochs,
        progress=progress,
    )
    stopped = cast(str, training.stopped)
    if not rule.restore_best:
        return FitResult(training.state.params, training.state, history, len(history), stopped)
    if history and not rule.best_epoch(history):
        text = f"{rule.monitor} was not finite after any epoch: the parameters returned are the initial ones"
        warnings.warn(text, RuntimeWarning, stacklevel=3)
    return FitResult(training.best, training.state, history, rule.best_epoch(history), stopped)
