"""Passes over time steps, an RNN and an LSTM, and attention; and passes with arguments that hide the number m."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from reference.checker_proof.beyond_dense.case import Case, Wish

rng = np.random.default_rng(47)
T, H, B = 4, 3, 5
X, Y = rng.normal(size=(T, 2, B)), rng.normal(size=(H, B))
recurrent = {"U": rng.normal(size=(H, 2)), "W": rng.normal(size=(H, H)), "b": rng.normal(size=(H, 1))}


def rnn_cost(params: dict, X: Any, Y: Any, tap: Callable) -> Any:
    h = jnp.zeros(Y.shape)
    for t in range(T):
        h = tap(f"h{t}", jnp.tanh(tap(f"z{t}", params["U"] @ X[t] + params["W"] @ h + params["b"])))
    return jnp.sum((h - Y) ** 2) / Y.shape[1]


def rnn_scan_cost(params: dict, X: Any, Y: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        return jnp.tanh(params["U"] @ x + params["W"] @ h + params["b"]), None

    return jnp.sum((jax.lax.scan(step, jnp.zeros(Y.shape), X)[0] - Y) ** 2) / Y.shape[1]


def rnn(kind: str) -> Callable:
    def backward(params: dict, X: Any, Y: Any) -> dict:
        h = [np.zeros(Y.shape)]
        for x in X:
            h.append(np.tanh(params["U"] @ x + params["W"] @ h[-1] + params["b"]))
        lines, (dU, dW, db) = {}, (np.zeros_like(params[n]) for n in "UWb")
        dh = 2 * (h[-1] - Y) / B
        for t in reversed(range(T)):
            dz = dh * (1 if kind == "no tanh' at t = 1" and t == 1 else 1 - h[t + 1] ** 2)
            lines |= {f"dh{t}": dh, f"dz{t}": dz}
            if kind != "last step only" or t == T - 1:
                dU += dz @ X[T - 1 - t if kind == "x in reverse" else t].T
            dW += dz @ h[t + 1 if kind == "h[t] for h[t - 1]" else t].T
            db += dz.sum(axis=1, keepdims=True)
            dh = (params["W"] if kind == "no transpose" else params["W"].T) @ dz
        if kind == "averaged over time":
            dU, dW, db = dU / T, dW / T, db / T
        return lines | {"dU": dU, "dW": dW, "db": db}

    return backward


def gradients(make: Callable) -> Callable:
    return lambda kind: lambda params, *args: {"d" + n: make(kind)(params, *args)["d" + n] for n in params}


AVERAGED = "mean|averaged|X has size 4"
RNN = Case(
    "rnn", rnn_cost, rnn, (recurrent, X, Y),
    {
        "last step only": Wish("dU", "missing|only the last"),
        "x in reverse": Wish("dU", "reverse|flip|X"),
        "h[t] for h[t - 1]": Wish("dW", r"in place of|off by one|shift"),
        "no tanh' at t = 1": Wish("dz1", r"g'\(z1\) is missing"),
        "no transpose": Wish("dh2 dh1 dh0", r"transpose"),
        "averaged over time": Wish("dU dW db|dW dU db|.*", AVERAGED),
    },
)  # fmt: skip
RNN_SCAN = Case(
    "rnn, scan, gradients", rnn_scan_cost, gradients(rnn), RNN.arguments,
    {
        "averaged over time": Wish(".+", AVERAGED),
        "last step only": Wish("dU", "missing|step"),
        "no transpose": Wish(".+", "transpose"),
    },
)  # fmt: skip
gates = {"W": rng.normal(size=(4 * H, 2)), "R": rng.normal(size=(4 * H, H))}


def _sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def lstm_cost(params: dict, X: Any, Y: Any, tap: Callable) -> Any:
    h = c = jnp.zeros(Y.shape)
    for t in range(2):
        i, f, o, g = jnp.split(tap(f"z{t}", params["W"] @ X[t] + params["R"] @ h), 4)
        c = tap(f"c{t}", jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g))
        h = tap(f"h{t}", jax.nn.sigmoid(o) * jnp.tanh(c))
    return jnp.sum((h - Y) ** 2)


def lstm(kind: str) -> Callable:
    def backward(params: dict, X: Any, Y: Any) -> dict:
        h, c = [np.zeros(Y.shape)], [np.zeros(Y.shape)]
        steps = []
        for x in X[:2]:
            z = params["W"] @ x + params["R"] @ h[-1]
            (i, f, o), g = _sigmoid(z[: 3 * H]).reshape(3, H, -1), np.tanh(z[3 * H :])
            c.append(f * c[-1] + i * g)
            h.append(o * np.tanh(c[-1]))
            steps.append((i, f, o, g))
        dh, dc, lines, (dW, dR) = 2 * (h[-1] - Y), 0.0, {}, (np.zeros_like(params[n]) for n in "WR")
        for t in (1, 0):
            (i, f, o, g), tanh = steps[t], np.tanh(c[t + 1])
            dc = (0 if kind == "dc not carried" else dc) + dh * o * (1 if kind == "no tanh' of c" else 1 - tanh**2)
            df = dc * c[t + 1 if kind == "c[t] for c[t - 1]" else t] * f * (1 - f)
            di, do, dg = dc * g * i * (1 - i), dh * tanh * o * (1 - o), dc * i * (1 - g**2)
            if kind == "no sigmoid' of o":
                do = dh * tanh
            dz = np.concatenate([df, di, do, dg] if kind == "gates swapped" else [di, df, do, dg])
            lines |= {f"dh{t}": dh, f"dc{t}": dc, f"dz{t}": dz}
            dW, dR = dW + dz @ X[t].T, dR + dz @ h[t].T
            dh, dc = params["R"].T @ dz, dc * f
        return lines | {"dW": dW, "dR": dR}

    return backward


LSTM = Case(
    "lstm", lstm_cost, lstm, (gates, X, Y),
    {
        "dc not carried": Wish("dc0", "missing"),
        "no tanh' of c": Wish("dc1 dc0", r"g'|factor|tanh"),
        "c[t] for c[t - 1]": Wish("dz1 dz0", r"rows 3:6"),
        "no sigmoid' of o": Wish("dz1 dz0", "rows 6:9"),
        "gates swapped": Wish("dz1 dz0", "rows 0:6|rows 0:3|exchanged|swapped"),
    },
)  # fmt: skip
plain, inputs, outputs = (
    {"W": rng.normal(size=(3, 4)), "b": rng.normal(size=(3, 1))},
    rng.normal(size=(4, 11)),
    rng.normal(size=(3, 11)),
)


def linear_cost(params: dict, X: Any, Y: Any, extra: Any, tap: Callable) -> Any:
    return jnp.mean(jnp.sum((tap("Z", params["W"] @ X + params["b"]) - Y) ** 2, axis=0))


def linear(kind: str) -> Callable:
    def backward(params: dict, X: Any, Y: Any, extra: Any) -> dict:
        m = X.shape[1]
        dZ = 2 * (params["W"] @ X + params["b"] - Y) / m
        factor = {"no 1/m": m, "averaged twice": 1 / m, "sqrt(m)": m**-0.5, "m - 1": m / (m - 1)}.get(kind, 1)
        return {"dZ": dZ, "dW": factor * dZ @ X.T, "db": dZ.sum(axis=1, keepdims=True)}

    return backward


M = {
    "no 1/m": Wish("dW", "1/m, is missing"),
    "averaged twice": Wish("dW", "one 1/m too many"),
    "sqrt(m)": Wish("dW", "sqrt"),
    "m - 1": Wish("dW", "m - 1"),
}
WITH_KEY, WITH_WEIGHTS, WITH_RATE = (
    Case(f"linear, {name}", linear_cost, linear, (plain, inputs, outputs, extra), M)
    for name, extra in (("a key", jax.random.PRNGKey(0)), ("class weights", np.ones(3)), ("a rate", np.array(0.1)))
)
CASES = RNN, RNN_SCAN, LSTM, WITH_KEY, WITH_WEIGHTS, WITH_RATE
