"""Passes of two layers with a step of their own: dropout, a penalty, relu by rows, a softmax with its Jacobian."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from reference.checker_proof.beyond_dense.case import Case, Wish

rng = np.random.default_rng(43)
m, keep = 9, 0.7
params = {"W1": rng.normal(size=(6, 4)), "W2": rng.normal(size=(2, 6))}
X, Y = rng.normal(size=(4, m)), rng.normal(size=(2, m))
mask = rng.uniform(size=(6, m)) < keep


def dropout_cost(params: dict, X: Any, Y: Any, mask: Any, keep: float, tap: Callable) -> Any:
    A1 = tap("A1", jnp.tanh(tap("Z1", params["W1"] @ X)))
    D1 = tap("D1", A1 * mask / keep)
    return jnp.sum((tap("A2", params["W2"] @ D1) - Y) ** 2) / X.shape[1]


def dropout(kind: str) -> Callable:
    def backward(params: dict, X: Any, Y: Any, mask: Any, keep: float) -> dict:
        A1 = np.tanh(params["W1"] @ X)
        D1 = A1 * mask / keep
        dA2 = 2 * (params["W2"] @ D1 - Y) / X.shape[1]
        dD1 = params["W2"].T @ dA2
        variants = {
            "no mask": dD1,
            "no scale": dD1 * mask,
            "scale twice": dD1 * mask / keep**2,
            "rate for keep": dD1 * mask / (1 - keep),
            "mask negated": dD1 * ~mask / keep,
            "mask in one half": np.where(np.arange(6)[:, None] < 3, dD1 * mask, dD1) / keep,
        }
        dA1 = variants.get(kind, dD1 * mask / keep)
        dZ1 = dA1 * (1 - A1**2)
        return {"dA2": dA2, "dW2": dA2 @ D1.T, "dD1": dD1, "dA1": dA1, "dZ1": dZ1, "dW1": dZ1 @ X.T}

    return backward


def only(make: Callable, *names: str) -> Callable:
    return lambda kind: lambda *arguments: {n: make(kind)(*arguments)[n] for n in names}


SCALE = "keep|0.7"
DROPOUT = Case(
    "dropout", dropout_cost, dropout, (params, X, Y, mask, keep),
    {
        "no mask": Wish("dA1", "mask"),
        "no scale": Wish("dA1", SCALE),
        "scale twice": Wish("dA1", SCALE),
        "rate for keep": Wish("dA1", SCALE),
        "mask negated": Wish("dA1", "mask"),
        "mask in one half": Wish("dA1", r"rows 3:6.*mask|mask.*rows 3:6"),
    },
)  # fmt: skip
DROPOUT_FEW = Case(
    "dropout, few lines", dropout_cost, only(dropout, "dA2", "dZ1", "dW1"), DROPOUT.arguments,
    {"no mask": Wish("d[AZ]1", "mask"), "no scale": Wish("d[AZ]1", SCALE)},
)  # fmt: skip


def penalty_cost(params: dict, X: Any, Y: Any, lam: float, tap: Callable) -> Any:
    A1 = tap("A1", jnp.tanh(tap("Z1", params["W1"] @ X)))
    squares = jnp.sum(params["W1"] ** 2) + jnp.sum(params["W2"] ** 2)
    return (jnp.sum((tap("A2", params["W2"] @ A1) - Y) ** 2) + lam / 2 * squares) / X.shape[1]


def penalty(kind: str) -> Callable:
    def backward(params: dict, X: Any, Y: Any, lam: float) -> dict:
        W1, W2 = params["W1"], params["W2"]
        A1 = np.tanh(W1 @ X)
        dA2 = 2 * (W2 @ A1 - Y) / m
        dZ1 = (W2.T @ dA2) * (1 - A1**2)
        r = {"no penalty": 0.0, "no 1/m": lam, "twice": 2 * lam / m, "sign": -lam / m}.get(kind, lam / m)
        dW1 = dZ1 @ X.T + r * (np.sign(W1) if kind == "sign(W) for W" else W1)
        return {"dA2": dA2, "dW2": dA2 @ A1.T + r * W2, "dZ1": dZ1, "dW1": dW1}

    return backward


PENALTY = Case(
    "penalty", penalty_cost, penalty, (params, X, Y, 0.7),
    {
        "no penalty": Wish("dW2 dW1", "missing"),
        "no 1/m": Wish("dW2 dW1", "1/m"),
        "twice": Wish("dW2 dW1", "factor of 2"),
        "sign": Wish("dW2 dW1", "sign"),
        "sign(W) for W": Wish("dW1", r"sign\(W1\)"),
    },
)  # fmt: skip
rows = {"w1": rng.normal(size=(5, 6)), "b1": rng.normal(size=6), "w2": rng.normal(size=(6, 1))}


def relu_cost(params: dict, x: Any, y: Any, tap: Callable) -> Any:
    l1 = tap("l1", jax.nn.relu(tap("z1", x @ params["w1"] + params["b1"])))
    return jnp.mean((tap("l2", l1 @ params["w2"])[:, 0] - y) ** 2)


def relu(kind: str) -> Callable:
    def backward(params: dict, x: Any, y: Any) -> dict:
        l1 = np.maximum(x @ params["w1"] + params["b1"], 0)
        off = l1 @ params["w2"] - (y if kind == "(n, 1) - (n,)" else y[:, None])
        dl2 = 2 / len(y) * (off.mean(axis=1, keepdims=True) if kind == "(n, 1) - (n,)" else off)
        dl1 = dl2 @ params["w2"].T
        gate = {"no relu'": 1, "y > 0": (y > 0)[:, None], "sign": np.where(l1 > 0, 1, -1), "gate by dl1": dl1 > 0}
        dz1 = dl1 * gate.get(kind, l1 > 0)
        return {"dl2": dl2, "dw2": l1.T @ dl2, "dl1": dl1, "dz1": dz1, "dw1": x.T @ dz1, "db1": dz1.sum(axis=0)}

    return backward


RELU = Case(
    "relu by rows", relu_cost, relu, (rows, rng.normal(size=(8, 5)), rng.normal(size=8)),
    {
        "no relu'": Wish("dz1", r"g' ?\(z1\)|relu"),
        "(n, 1) - (n,)": Wish("dl2", "broadcast|mean"),
        "y > 0": Wish("dz1", r"\by\b|z1 > 0"),
        "sign": Wish("dz1", "z1 > 0"),
        "gate by dl1": Wish("dz1", "z1 > 0"),
    },
)  # fmt: skip
RELU_ONE = Case(
    "relu by rows, dw1 alone", relu_cost, only(relu, "dw1"), RELU.arguments,
    {"no relu'": Wish("dl1|dz1|dw1", r"z1 > 0|relu")},
)  # fmt: skip
scores, targets = {"W": rng.normal(size=(5, 4)), "b": rng.normal(size=4)}, np.eye(4)[[0, 3, 1, 2, 2, 0]]


def softmax_cost(params: dict, X: Any, Y: Any, tap: Callable) -> Any:
    P = tap("P", jax.nn.softmax(tap("S", X @ params["W"] + params["b"]), axis=1))
    return -jnp.sum(Y * jnp.log(P))


def softmax(kind: str) -> Callable:
    def backward(params: dict, X: Any, Y: Any) -> dict:
        e = np.exp(X @ params["W"] + params["b"])
        P = e / e.sum(axis=1, keepdims=True)
        dP = -Y / P
        mean = (P * dP).sum(axis=0 if kind == "sum over the rows" else 1, keepdims=True)
        variants = {
            "diagonal only": dP * P * (1 - P),
            "no sum": P * dP,
            "+ for -": P * (dP + mean),
            "rows of the Jacobian": dP * (P - P * P.sum(axis=1, keepdims=True)),
            "P missing": dP - mean,
        }
        dS = variants.get(kind, P * (dP - mean))
        return {"dP": dP, "dS": dS, "dW": X.T @ dS, "db": dS.sum(axis=0)}

    return backward


SOFTMAX = Case(
    "softmax's Jacobian", softmax_cost, softmax, (scores, rng.normal(size=(6, 5)), targets),
    {
        "diagonal only": Wish("dS", "diagonal"),
        "no sum": Wish("dS", "sum"),
        "+ for -": Wish("dS", "sign"),
        "rows of the Jacobian": Wish("dS", "0 everywhere|zero"),
        "P missing": Wish("dS", r"P \*|factor P"),
        "sum over the rows": Wish("dS", "axis"),
    },
)  # fmt: skip
CASES = DROPOUT, DROPOUT_FEW, PENALTY, RELU, RELU_ONE, SOFTMAX
