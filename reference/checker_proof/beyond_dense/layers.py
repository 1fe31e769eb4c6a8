"""Passes with taps: an embedding, batch norm, max pooling, tied weights, dropout, a penalty, relu by rows."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from reference.checker_proof.beyond_dense.case import Case, Wish

rng = np.random.default_rng(41)


def _softmax(S: Any) -> Any:
    e = np.exp(S - S.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


# ids (5, 3) of 4 words, whose rows of the table C are multiplied by V and summed over the positions
ids, classes = np.array([[0, 1, 0], [2, 2, 2], [3, 0, 1], [1, 3, 3], [0, 0, 2]]), np.array([0, 1, 1, 0, 1])
words = {"C": rng.normal(size=(4, 6)), "V": rng.normal(size=(6, 2))}


def embedding_cost(params: dict, ids: Any, y: Any, tap: Callable) -> Any:
    emb = tap("emb", params["C"][ids])
    S = tap("S", jnp.tanh(emb).sum(axis=1) @ params["V"])
    return -jnp.mean(jax.nn.log_softmax(S)[jnp.arange(len(y)), y])


def embedding(kind: str) -> Callable:
    def backward(params: dict, ids: Any, y: Any) -> dict:
        h = np.tanh(params["C"][ids])
        dS = (_softmax(h.sum(axis=1) @ params["V"]) - np.eye(2)[y]) / len(y)
        demb = (dS @ params["V"].T)[:, None] * (1 - h**2)
        dC = np.zeros_like(params["C"])
        if kind == "+= at equal ids":
            dC[ids] += demb
        elif kind == "row by row":
            for row, line in zip(ids, demb, strict=True):
                dC[row] += line
        elif kind == "first position only":
            np.add.at(dC, ids[:, 0], demb[:, 0])
        else:
            np.add.at(dC, ids, demb)
        if kind == "padding":
            dC[0] = 0
        if kind == "averaged over repeats":
            dC /= np.bincount(ids.ravel())[:, None]
        return {"dS": dS, "dV": h.sum(axis=1).T @ dS, "demb": demb, "dC": dC}

    return backward


EMBEDDING = Case(
    "embedding", embedding_cost, embedding, (words, ids, classes),
    {
        "+= at equal ids": Wish("dC", "last|repeat"),
        "row by row": Wish("dC", "last|repeat"),
        "first position only": Wish("dC", "first index|position"),
        "padding": Wish("dC", "row 0|first row|rows 0"),
        "averaged over repeats": Wish("dC", "repeat|averaged|mean|count"),
    },
)  # fmt: skip

H, gain = rng.normal(size=(7, 4)), {"W": rng.normal(size=(4, 5)), "g": rng.normal(size=5), "b": rng.normal(size=5)}


def batch_norm_cost(params: dict, X: Any, tap: Callable) -> Any:
    Z = tap("Z", X @ params["W"])
    mu = tap("mu", Z.mean(axis=0))
    var = tap("var", ((Z - mu) ** 2).sum(axis=0) / (len(X) - 1))
    N = tap("N", (Z - mu) / jnp.sqrt(var + 1e-5))
    return jnp.sum(jnp.sin(tap("S", params["g"] * N + params["b"])))


def batch_norm(kind: str) -> Callable:
    def backward(params: dict, X: Any) -> dict:
        m, Z = len(X), X @ params["W"]
        r = (Z.var(axis=0, ddof=1) + 1e-5) ** -0.5
        N = (Z - Z.mean(axis=0)) * r
        dS = np.cos(params["g"] * N + params["b"])
        dN = dS * params["g"]
        c1, c2 = dN.mean(axis=0), (dN * N).sum(axis=0) / (m if kind == "m for m - 1" else m - 1)
        dZ = {"mean constant": dN - N * c2, "variance constant": dN - c1}.get(kind, dN - c1 - N * c2) * r
        dg = (dS if kind == "dg without N" else dS * N).sum(axis=0)
        return {"dS": dS, "dg": dg, "db": dS.sum(axis=0), "dN": dN, "dZ": dZ, "dW": X.T @ dZ}

    return backward


BATCH_NORM = Case(
    "batch norm", batch_norm_cost, batch_norm, (gain, H),
    {
        "mean constant": Wish("dmu|dZ", "mu"),
        "variance constant": Wish("dvar|dZ", "var"),
        "m for m - 1": Wish("dvar|dZ", r"m ?- ?1"),
        "dg without N": Wish("dg", r"\bN\b"),
    },
)  # fmt: skip

series = {"w": rng.normal(size=(3, 9))}


def pool_cost(params: dict, X: Any, tap: Callable) -> Any:
    A = tap("A", jnp.exp(X @ params["w"]))
    P = tap("P", jax.lax.reduce_window(A, -jnp.inf, jax.lax.max, (1, 3), (1, 2), "VALID"))
    return jnp.sum(P**2)


def pool(kind: str) -> Callable:
    def backward(params: dict, X: Any) -> dict:
        A = np.exp(X @ params["w"])
        windows = sliding_window_view(A, 3, axis=1)[:, ::2]
        dP, dA = 2 * windows.max(axis=2), np.zeros_like(A)
        rows, places = np.indices(dP.shape)
        winner = 2 * places + (0 if kind == "first of each window" else windows.argmax(axis=2))
        if kind == "= for +=":
            dA[rows, winner] = dP
        elif kind == "to all of the window":
            for k in range(3):
                np.add.at(dA, (rows, 2 * places + k), dP)
        else:
            np.add.at(dA, (rows, winner), dP)
        dZ = dA * A
        return {"dP": dP, "dA": dA, "dw": X.T @ dZ}

    return backward


POOL = Case(
    "max pooling", pool_cost, pool, (series, rng.normal(size=(4, 3))),
    {
        "= for +=": Wish("dA", "overlap|last|set|more than one"),
        "to all of the window": Wish("dA", "should be 0|maximum"),
        "first of each window": Wish("dA", "should be 0|maximum"),
    },
)  # fmt: skip

code = {"W": rng.normal(size=(6, 4))}


def tied_cost(params: dict, X: Any, tap: Callable = lambda name, value: value) -> Any:
    A1 = tap("A1", jnp.tanh(tap("Z1", X @ params["W"])))
    A2 = tap("A2", jnp.tanh(tap("Z2", A1 @ params["W"].T)))
    return jnp.sum((A2 - X) ** 2) / len(X)


def tied(kind: str) -> Callable:
    def backward(params: dict, X: Any) -> dict:
        W = params["W"]
        A1 = np.tanh(X @ W)
        A2 = np.tanh(A1 @ W.T)
        dA2 = 2 * (A2 - X) / len(X)
        dZ2 = dA2 * (1 - A2**2)
        dA1 = dZ2 @ W
        dZ1 = dA1 * (1 - A1**2)
        encoder, decoder = X.T @ dZ1, dZ2.T @ A1
        dW = {"decoder only": decoder, "encoder only": encoder, "difference": encoder - decoder}
        dX = dZ1 @ W.T - (0 if kind == "dX of the input only" else dA2)
        return {"dA2": dA2, "dZ2": dZ2, "dA1": dA1, "dZ1": dZ1, "dW": dW.get(kind, encoder + decoder), "dX": dX}

    return backward


TIED = Case(
    "tied weights", tied_cost, tied, (code, rng.normal(size=(7, 6))),
    {
        "decoder only": Wish("dW", "through dZ1 is missing"),
        "encoder only": Wish("dW", "through dZ2 is missing"),
        "difference": Wish("dW", "dZ2 has the wrong sign"),
        "dX of the input only": Wish("dX", "missing"),
    },
)  # fmt: skip
TIED_BARE = Case(
    "tied weights, no taps", lambda params, X: tied_cost(params, X),
    lambda kind: lambda *arguments: {"dW": tied(kind)(*arguments)["dW"]}, TIED.arguments,
    {"decoder only": Wish("dW", "missing"), "difference": Wish("dW", "sign")},
)  # fmt: skip
CASES = EMBEDDING, BATCH_NORM, POOL, TIED, TIED_BARE
