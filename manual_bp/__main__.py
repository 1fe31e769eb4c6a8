"""`python -m manual_bp`: train a classifier, its gradient checked against autodiff first."""

import argparse
import functools
import os
import sys
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from manual_bp import _data, _options
from manual_bp._autodiff import gradient_errors
from manual_bp._gradient import predict
from manual_bp._init import init
from manual_bp._network import Network, Params
from manual_bp._split import standardize, stratified_split
from manual_bp._training import Epoch, train_epoch

LIMIT = 1e-12
say = functools.partial(print, flush=True)


class Failure(Exception):
    """The run can't go on, for a reason other than its input. The message is the one line a user sees."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    try:
        _run(_options.parse(argv))
        return 0
    except _data.DataError as error:
        return _fail(f"error: {error}", 2)
    except Failure as error:
        return _fail(f"error: {error}", 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:
        # Whoever read the output has gone; what is flushed at exit must not raise again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _fail(message: str, status: int) -> int:
    print(f"manual_bp: {message}", file=sys.stderr)
    return status


def _run(options: argparse.Namespace) -> None:
    data = _data.digits() if options.data is None else _data.read(options.data, options.target)
    m, n = data.X.shape
    network = Network((n, *options.hidden, len(data.classes)))
    say(f"{data.name}: {m} examples, {n} features, {len(data.classes)} classes")
    say(f"network {'-'.join(map(str, network.sizes))}: relu, softmax, cross-entropy; float32, {jax.default_backend()}")
    optimizer = optax.adam(options.learning_rate)
    # Made once: another seed compiles nothing
    epoch = train_epoch(network, optimizer, options.batch_size)
    seeds = range(options.seed, options.seed + options.seeds)
    accuracies = [_train(seed, data, network, optimizer, epoch, options) for seed in seeds]
    if len(seeds) > 1:
        say(f"mean test accuracy over {len(seeds)} seeds {np.mean(accuracies):.2%}")


def _train(
    seed: int,
    data: _data.Dataset,
    network: Network,
    optimizer: optax.GradientTransformation,
    epoch: Epoch,
    options: argparse.Namespace,
) -> float:
    """Splits, checks the gradient, trains, and returns the accuracy on the held-out examples."""
    start = time.perf_counter()
    train, test = stratified_split(data.y, seed)
    X, X_test = standardize(data.X[train], data.X[test])
    y, y_test = data.y[train].astype(np.int32), data.y[test]
    init_key, order_key = jax.random.split(jax.random.key(seed))
    params = init(network, init_key, np.float32)
    _check(seed, network, params, X.T, y)

    X, X_test, y = jnp.asarray(X, np.float32), jnp.asarray(X_test.T, np.float32), jnp.asarray(y)
    state = params, optimizer.init(params)
    epochs, every = options.epochs, -(-options.epochs // 10)
    accuracy = 0.0
    for i in range(1, epochs + 1):
        state, cost = epoch(state, jax.random.fold_in(order_key, i), X, y)
        if i % every == 0 or i == epochs:
            if not np.isfinite(cost):
                raise Failure(f"seed {seed}: the cost is {cost} in epoch {i}: try a lower --learning-rate")
            accuracy = float(np.mean(np.argmax(predict(network, state[0], X_test), axis=0) == y_test))
            if options.seeds == 1:
                say(f"  epoch {i:{len(str(epochs))}} of {epochs}: cost {cost:.4f}, held-out accuracy {accuracy:.2%}")
    seconds = time.perf_counter() - start
    correct = round(accuracy * len(test))
    say(f"seed {seed}: test accuracy {accuracy:.2%}, {correct} of {len(test)} test examples; {seconds:.1f} s")
    return accuracy


def _check(seed: int, network: Network, params: Params, X: np.ndarray, y: np.ndarray) -> None:
    """Compares the gradient that training starts with to autodiff's, on all training data."""
    errors = gradient_errors(network, params, X, y)
    worst = max(errors, key=errors.__getitem__)
    say(
        f"seed {seed}: gradient checked against jax.grad on {len(y)} examples: "
        f"largest relative error {errors[worst]:.1e} (float64)"
    )
    if errors[worst] > LIMIT:
        raise Failure(f"the gradient is wrong: relative error {errors[worst]:.1e} in {worst}; expected at most {LIMIT}")


if __name__ == "__main__":
    sys.exit(main())
