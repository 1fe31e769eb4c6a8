"""A small network for the tests of the checker: its cost, a right backward pass, and helpers to read a report."""

import functools

import jax.numpy as jnp
import numpy as np

import manual_bp as bp

RNG = np.random.default_rng(0)
SIZES, M = (4, 6, 3), 7
PARAMS = {
    "W1": RNG.normal(size=(6, 4)), "b1": RNG.normal(size=(6, 1)),
    "W2": RNG.normal(size=(3, 6)), "b2": RNG.normal(size=(3, 1)),
}  # fmt: skip
X, Y = RNG.normal(size=(4, M)), RNG.normal(size=(3, M))
check = functools.partial(bp.check_gradients)


def cost(params, X, Y, tap, g=jnp.tanh):
    Z1 = tap("Z1", params["W1"] @ X + params["b1"])
    A1 = tap("A1", g(Z1))
    A2 = tap("A2", tap("Z2", params["W2"] @ A1 + params["b2"]))
    return jnp.mean(jnp.sum((A2 - Y) ** 2, axis=0))


def untapped(params, X, Y, g=jnp.tanh):
    return cost(params, X, Y, lambda name, value: value, g)


def lines(params, X, Y, np=np, make_dZ1=lambda dA1, A1: dA1 * (1 - A1**2)):
    m = X.shape[1]
    A1 = np.tanh(params["W1"] @ X + params["b1"])
    dA2 = dZ2 = 2 * (params["W2"] @ A1 + params["b2"] - Y) / m
    dA1 = params["W2"].T @ dZ2
    dZ1 = make_dZ1(dA1, A1)
    return {
        "dA2": dA2, "dZ2": dZ2, "dW2": dZ2 @ A1.T, "db2": dZ2.sum(axis=1, keepdims=True),
        "dA1": dA1, "dZ1": dZ1, "dW1": dZ1 @ X.T, "db1": dZ1.sum(axis=1, keepdims=True),
    }  # fmt: skip


def gradient(params, X, Y, **how):
    found = lines(params, X, Y, **how)
    return {name: found["d" + name] for name in params}


def only(*names, **how):
    """The pass that returns some of the lines."""
    return lambda *args: {name: line for name, line in lines(*args, **how).items() if name in names}


def replaced(**changes):
    """The right pass with some lines replaced: each change is a function of all lines."""
    return lambda params, X, Y: (right := lines(params, X, Y)) | {n: change(right) for n, change in changes.items()}


def off(report, line, local=False):
    error = report[line].local_error if local else report[line].global_error
    assert error is not None
    return error


def verdicts(report):
    return {line.line: line.verdict for line in report.lines}
