"""Rules of norms and of attention: layer, RMS and pre-norm, a unit vector, softmax attention."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from reference.checker_proof.beyond_dense.case import Case, Wish

rng = np.random.default_rng(53)
x, w, b = rng.normal(size=(2, 3, 5)), rng.normal(size=5), rng.normal(size=5)


def with_rule(f: Callable, bwd: Callable) -> Callable:
    """Give f a rule bwd(arguments, cotangent) that keeps its arguments."""
    ruled = jax.custom_vjp(f)
    ruled.defvjp(lambda *arguments: (f(*arguments), arguments), bwd)
    return ruled


def _normal(x: Any) -> tuple[Any, Any]:
    mu = jnp.mean(x, axis=-1, keepdims=True)
    var = jnp.mean((x - mu) ** 2, axis=-1, keepdims=True)
    return (x - mu) / jnp.sqrt(var + 1e-5), 1 / jnp.sqrt(var + 1e-5)


def layer_norm(kind: str) -> Callable:
    def bwd(arguments: tuple, g: Any) -> tuple:
        x, w, _ = arguments
        n, r = _normal(x)
        d = g * (1 if kind == "w forgotten" else w)
        c1, c2 = d.mean(axis=-1, keepdims=True), (d * n).mean(axis=-1, keepdims=True)
        if kind == "mean over all but the first axis":
            c1, c2 = d.mean(axis=(1, 2), keepdims=True), (d * n).mean(axis=(1, 2), keepdims=True)
        dx = {"mean constant": d - n * c2, "variance constant": d - c1, "no r": (d - c1 - n * c2) / r}
        db = g[0].sum(axis=0) if kind == "db of the first of a batch" else g.sum(axis=(0, 1))
        return dx.get(kind, d - c1 - n * c2) * r, (g * n).sum(axis=(0, 1)), db

    return with_rule(lambda x, w, b: _normal(x)[0] * w + b, bwd)


LAYER_NORM = Case(
    "layer norm", None, layer_norm, (x, w, b),
    {
        "mean constant": Wish("dx", r"mu|mean\("),
        "variance constant": Wish("dx", r"var|mean\("),
        "w forgotten": Wish("dx", r"\bw\b"),
        "no r": Wish("dx", "sqrt|factor|r"),
        "mean over all but the first axis": Wish("dx", "axis|axes"),
        "db of the first of a batch": Wish("db", r"axis|first|\[0\]"),
    },
)  # fmt: skip


def rms_norm(kind: str) -> Callable:
    def bwd(arguments: tuple, g: Any) -> tuple:
        x, w = arguments
        r = jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6)
        second = r**3 * x * jnp.mean(g * x * w, axis=-1, keepdims=True)
        second = second * {"w twice": w, "no 1/D": 5, "one term": 0, "+ for -": -1}.get(kind, 1)
        return g * w * r - second, (None if kind == "dw None" else jnp.sum(g * x * r, axis=(0, 1)))

    return with_rule(lambda x, w: x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6) * w, bwd)


RMS_NORM = Case(
    "rms norm", None, rms_norm, (x, w),
    {
        "w twice": Wish("dx", r"\bw\b"),
        "no 1/D": Wish("dx", r"5 times|factor 5|axis"),
        "one term": Wish("dx", "missing|constant"),
        "+ for -": Wish("dx", "sign"),
        "dw None": Wish("dw", "0 everywhere"),
    },
)  # fmt: skip
AT_ONES = Case("rms norm, w = 1", None, rms_norm, (x, np.ones(5)), {"w twice": Wish("dx", r"\bw\b")})


def unit(kind: str) -> Callable:
    def bwd(arguments: tuple, g: Any) -> tuple:
        (x,) = arguments
        n = jnp.linalg.norm(x)
        g, x = (x, g) if kind == "g and x swapped" else (g, x)
        power = {"no 1/|x|": 0, "1/|x|^2": 2}.get(kind, 1)
        return ((g - x * jnp.sum(g * x) / n**2) / n**power,)

    return with_rule(lambda x: x / jnp.linalg.norm(x), bwd)


UNIT = Case(
    "unit vector", None, unit, (np.random.default_rng(0).normal(size=(4, 3)),),
    {
        "no 1/|x|": Wish("dx", r"norm|\|x\||sqrt"),
        "1/|x|^2": Wish("dx", r"norm|\|x\||sqrt"),
        "g and x swapped": Wish("dx", "linear|cotangent"),
    },
)  # fmt: skip


def prenorm(kind: str) -> Callable:
    def f(x: Any, y: Any) -> tuple:
        s = x + y
        return s * jax.lax.rsqrt(jnp.mean(s * s, axis=-1, keepdims=True)), s

    def bwd(arguments: tuple, cotangents: tuple) -> tuple:
        s, (dn, ds) = sum(arguments), cotangents
        back = jax.vjp(lambda s: f(s, 0.0)[0], s)[1]
        d = {
            "before the norm": lambda: back(dn + ds)[0],
            "second ignored": lambda: back(dn)[0],
            "first ignored": lambda: ds,
        }.get(kind, lambda: ds + back(dn)[0])()
        return d, (jnp.zeros_like(d) if kind == "no residual" else d)

    return with_rule(f, bwd)


PRENORM = Case(
    "pre-norm", None, prenorm, (rng.normal(size=(4, 5)), rng.normal(size=(4, 5))),
    {
        "before the norm": Wish("dout.*|dx dy|dx, dy", "path|through|equation"),
        "second ignored": Wish("dout.*|dx dy", r"out\[1\].*(not use|ignored|missing)|missing"),
        "first ignored": Wish("dout.*|dx dy", r"out\[0\].*(not use|ignored|missing)|missing"),
        "no residual": Wish("dy", "0 everywhere"),
    },
)  # fmt: skip


def attention(kind: str) -> Callable:
    def weights(q: Any, k: Any) -> Any:
        S = q @ k.T / np.sqrt(q.shape[1])
        return jax.nn.softmax(jnp.where(np.tri(*S.shape), S, -jnp.inf), axis=1)

    def bwd(arguments: tuple, g: Any) -> tuple:
        q, k, v = arguments
        P = weights(q, k)
        if kind == "mask forgotten":
            P = jax.nn.softmax(q @ k.T / np.sqrt(q.shape[1]), axis=1)
        dP = g @ v.T
        sums = (P * dP).sum(axis=0 if kind == "sum over the wrong axis" else 1, keepdims=True)
        dS = {"no sum": P * dP, "diagonal only": P * (1 - P) * dP}.get(kind, P * (dP - sums))
        dq, dk = dS @ k, (dS @ q if kind == "no transpose" else dS.T @ q)
        scale = 1 / np.sqrt(q.shape[1])
        return dq * (1 if "scale in dq" in kind else scale), dk * (1 if "scale in dk" in kind else scale), P.T @ g

    return with_rule(lambda q, k, v: weights(q, k) @ v, bwd)


ATTENTION = Case(
    "attention", None, attention, (rng.normal(size=(6, 5)), rng.normal(size=(6, 5)), rng.normal(size=(6, 5))),
    {
        "no scale in dq": Wish("dq", "sqrt"),
        "no scale in dk": Wish("dk", "sqrt"),
        "mask forgotten": Wish(r"dq dk dv|d\w+", "mask|where|triang"),
        "no sum": Wish(r"dq dk|d\w+", "sum|softmax"),
        "diagonal only": Wish(r"dq dk|d\w+", "diagonal|sum|softmax"),
        "sum over the wrong axis": Wish(r"dq dk|d\w+", "axis"),
        "no transpose": Wish("dk", "transpose"),
    },
)  # fmt: skip
CASES = LAYER_NORM, RMS_NORM, AT_ONES, UNIT, PRENORM, ATTENTION
