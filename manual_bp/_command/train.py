"""`python -m manual_bp train`: check the gradient against autodiff, train, test, save."""

import argparse
import contextlib
import dataclasses
import functools
import math
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

import manual_bp as bp
from manual_bp._command import data as datasets
from manual_bp._command import directory, fitting, plot
from manual_bp._command.errors import Failure
from manual_bp._command.examples import Examples, Part, digest, examples
from manual_bp._command.gradient_check import gradient_errors
from manual_bp._command.model import Model
from manual_bp._command.say import say
from manual_bp._command.score import score, shown

LIMIT = 1e-12
# The same object for the same rate: another seed compiles nothing
_adam = functools.cache(optax.adam)


def run(options: argparse.Namespace) -> None:
    if options.plot is not None:
        plot.available(options.plot)
    data = (
        datasets.digits() if options.data is None else datasets.read(options.data, options.target, options.regression)
    )
    network = _network(data, options.hidden)
    m, n = data.X.shape
    say(f"{data.name}: {m} examples, {n} features, {_targets(data)}")
    form = "relu, softmax, cross-entropy" if data.classes is not None else "relu, identity, squared error"
    device = options.device or jax.default_backend()
    say(f"network {'-'.join(map(str, network.sizes))}: {form}; float32, {device}")
    optimizer = _adam(options.learning_rate)
    seeds = range(options.seed, options.seed + options.seeds)
    scores = [_train(seed, data, network, optimizer, options) for seed in seeds]
    if len(seeds) > 1:
        name, mean = shown(float(np.mean(scores)), data.classes is None).split(" ", 1)
        say(f"mean test {name} over {len(seeds)} seeds {mean}")


def _network(data: datasets.Dataset, hidden: tuple[int, ...]) -> bp.Network:
    n = data.X.shape[1]
    if data.classes is None:
        return bp.Network((n, *hidden, 1), output="identity", cost="squared_error")
    return bp.Network((n, *hidden, len(data.classes)))


def _targets(data: datasets.Dataset) -> str:
    if data.classes is not None:
        return f"{len(data.classes)} classes"
    return f"values from {data.y.min():g} to {data.y.max():g}"


def _train(
    seed: int,
    data: datasets.Dataset,
    network: bp.Network,
    optimizer: optax.GradientTransformation,
    options: argparse.Namespace,
) -> float:
    """Splits, checks the gradient, trains, tests, saves, and returns the test's score."""
    start = time.perf_counter()
    parts = examples(data, seed, apart=options.patience is not None)
    state = bp.train_state(network, optimizer, jax.random.key(seed), dtype=np.float32)
    model = _model(data, network, state.params, parts, seed, options)
    if options.out is not None:
        directory.begin(options.out, model, options.resume)
    _check(seed, network, state.params, parts.training)

    with contextlib.nullcontext() if options.out is None else directory.kept(options.out, options.argv):
        result = fitting.fit(network, parts, optimizer, state, options)
    if options.out is not None:
        directory.end(options.out, dataclasses.replace(model, params=result.params), result.stopped)
    if result.stopped == "not finite":
        step, epoch = int(result.state.step) + 1, len(result.history) + 1
        saved = "" if options.out is None else f"; the last finite model is saved in {options.out}"
        raise Failure(
            f"seed {seed}: the cost of step {step}, in epoch {epoch}, or what it leads to is not finite: try a lower "
            f"--learning-rate{saved}"
        )
    if options.patience is not None and options.seeds == 1:
        how = "stopped" if result.stopped == "early stopping" else "ended"
        say(f"  {how} after epoch {len(result.history)}; the model is that of epoch {result.best_epoch}, the best")
    achieved, about = _test(network, result.params, parts)
    say(f"seed {seed}: test {about}; {time.perf_counter() - start:.1f} s")
    if options.out is not None:
        say(f"model saved in {options.out}")
    if options.plot is not None:
        plot.draw(options.plot, data.name, parts, result, options)
        say(f"learning curves drawn to {options.plot}")
    return achieved


def _model(
    data: datasets.Dataset,
    network: bp.Network,
    params: bp.Params,
    parts: Examples,
    seed: int,
    options: argparse.Namespace,
) -> Model:
    # Whole floats, as a .csv has them, are integers
    classes = None if data.classes is None else [int(c) if isinstance(c, float) else c for c in data.classes.tolist()]
    training = {name: getattr(options, name) for name in directory.NOTED}
    training |= {"data": digest(data), "seed": seed, "validation": options.patience is not None, "stopped": None}
    return Model(network, params, classes, data.features, data.target, parts.inputs, parts.outputs, training)


def _check(seed: int, network: bp.Network, params: bp.Params, training: Part) -> None:
    """Compares the gradient that training starts with to autodiff's, on all training data."""
    errors = gradient_errors(network, params, *training)
    worst = max(errors, key=errors.__getitem__)
    say(
        f"seed {seed}: gradient checked against jax.grad on {training.X.shape[1]} examples: "
        f"largest relative error {errors[worst]:.1e} (float64)"
    )
    if errors[worst] > LIMIT:
        raise Failure(f"the gradient is wrong: relative error {errors[worst]:.1e} in {worst}; expected at most {LIMIT}")


def _test(network: bp.Network, params: bp.Params, parts: Examples) -> tuple[float, str]:
    """The score on the test examples, and what is said of it."""
    X, Y = parts.test
    found = bp.evaluate(network, params, jnp.asarray(X), jnp.asarray(Y))
    cost, accuracy = float(found.cost), None if found.metric is None else float(found.metric)
    achieved, m = score(cost, accuracy, Y), X.shape[1]
    about = shown(achieved, accuracy is None)
    if accuracy is not None:
        return achieved, f"{about}, {round(accuracy * m)} of {m} test examples"
    assert parts.outputs is not None
    error = math.sqrt(cost) * float(parts.outputs.deviation)
    return achieved, f"{about}, root mean squared error {error:.4g} on {m} test examples"
