"""Rules of activations, gathers, sums and products."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from reference.checker_proof.beyond_dense.case import Case, Wish
from reference.checker_proof.beyond_dense.norms import with_rule

rng = np.random.default_rng(59)
x, y = rng.normal(size=(4, 5)), rng.normal(size=(4, 5))


def _derivative(g: Callable) -> Callable:
    return lambda x: jax.vmap(jax.grad(g))(x.ravel()).reshape(x.shape)


def activation(kind: str) -> Callable:
    g, prime = {
        "exact gelu' for tanh gelu": (jax.nn.gelu, _derivative(lambda x: jax.nn.gelu(x, approximate=False))),
        "silu' taken as the sigmoid": (jax.nn.silu, jax.nn.sigmoid),
        "silu' with s for 1 - s": (jax.nn.silu, lambda x: jax.nn.sigmoid(x) * (1 + x * jax.nn.sigmoid(x))),
        "softplus' missing": (jax.nn.softplus, jnp.ones_like),
        "sigmoid' without s": (jax.nn.sigmoid, lambda x: 1 - jax.nn.sigmoid(x)),
        "1 - x^2 for 1 - tanh^2": (jnp.tanh, lambda x: 1 - x**2),
        "1 - tanh": (jnp.tanh, lambda x: 1 - jnp.tanh(x)),
        "elu' = elu": (jax.nn.elu, lambda x: jnp.where(x > 0, 1, jax.nn.elu(x))),
        "leak forgotten": (jax.nn.leaky_relu, lambda x: x > 0),
        "sin' with the sign lost": (jnp.cos, jnp.sin),
        "sqrt' without 1/2": (lambda x: jnp.sqrt(x * x + 1), lambda x: 2 * x / jnp.sqrt(x * x + 1)),
    }.get(kind, (jnp.tanh, lambda x: 1 - jnp.tanh(x) ** 2))  # fmt: skip
    return with_rule(lambda x: g(x), lambda arguments, u: (u * prime(arguments[0]),))


ACTIVATION = Case(
    "activation", None, activation, (x,),
    {
        "exact gelu' for tanh gelu": Wish("dx", "gelu"),
        "silu' taken as the sigmoid": Wish("dx", "sigmoid"),
        "silu' with s for 1 - s": Wish("dx", "silu|sigmoid"),
        "softplus' missing": Wish("dx", "dout|missing"),
        "sigmoid' without s": Wish("dx", "sigmoid|out"),
        "1 - x^2 for 1 - tanh^2": Wish("dx", r"1 - x\*\*2|out\*\*2"),
        "1 - tanh": Wish("dx", r"1 - out\b|1 - tanh"),
        "elu' = elu": Wish("dx", r"elu|exactly where|g\(x\)"),
        "leak forgotten": Wish("dx", r"relu|x < 0|x <= 0|negative"),
        "sin' with the sign lost": Wish("dx", "sign"),
        "sqrt' without 1/2": Wish("dx", "factor of 2"),
    },
)  # fmt: skip


def gated(kind: str) -> Callable:
    def bwd(arguments: tuple, u: Any) -> tuple:
        x, y = arguments
        s = jax.nn.sigmoid(x)
        prime = s if kind == "silu' taken as the sigmoid" else s * (1 + x * (1 - s))
        dx = u * prime * (1 if kind == "gate forgotten" else y)
        dy = {"g forgotten": x * s, "x for silu(x)": u * x}.get(kind, u * x * s)
        return dx, dy

    return with_rule(lambda x, y: jax.nn.silu(x) * y, bwd)


GATED = Case(
    "gated silu", None, gated, (x, y),
    {
        "gate forgotten": Wish("dx", r"\by\b"),
        "silu' taken as the sigmoid": Wish("dx", "sigmoid"),
        "g forgotten": Wish("dy", "cotangent"),
        "x for silu(x)": Wish("dy", r"\bx\b"),
    },
)  # fmt: skip
ids = np.array([0, 1, -1, 2, 1, -1])


def segments(kind: str) -> Callable:
    def f(values: Any, ids: Any) -> Any:
        return jnp.zeros((3, values.shape[1])).at[jnp.where(ids < 0, 3, ids)].add(values, mode="drop")

    def bwd(arguments: tuple, u: Any) -> tuple:
        values, ids = arguments
        d = u[ids] if kind == "-1 wraps" else jnp.where((ids < 0)[:, None], 0, u[ids])
        if kind == "mean for sum":
            d = d / jnp.bincount(jnp.where(ids < 0, 3, ids), length=4)[ids][:, None]
        return d[::-1] if kind == "flipped" else jnp.roll(d, 1, axis=0) if kind == "shifted" else d, None

    return with_rule(f, bwd)


SEGMENTS = Case(
    "segment sum", None, segments, (rng.normal(size=(6, 3)), ids),
    {
        "-1 wraps": Wish("dvalues", r"ids (< 0|is negative|== -1)|ids.*negative"),
        "mean for sum": Wish("dvalues", "bincount|ids.*repeat|repeat.*ids"),
        "flipped": Wish("dvalues", "flip|reverse"),
        "shifted": Wish("dvalues", "shift|off by one"),
    },
)  # fmt: skip


def lookup(kind: str) -> Callable:
    def bwd(arguments: tuple, u: Any) -> tuple:
        table, ids = arguments
        zero = jnp.zeros_like(table)
        if kind == "set for add":
            return zero.at[ids].set(u), None
        if kind == "first column":
            return zero.at[ids[:, 0]].add(u[:, 0]), None
        return (zero if kind == "none" else zero.at[ids].add(u)), None

    return with_rule(lambda table, ids: table[ids], bwd)


LOOKUP = Case(
    "lookup", None, lookup, (rng.normal(size=(7, 4)), rng.integers(0, 7, (3, 4))),
    {
        "set for add": Wish("dtable", "last|repeat"),
        "first column": Wish("dtable", "first index"),
        "none": Wish("dtable", "0 everywhere"),
    },
)  # fmt: skip


def product(kind: str) -> Callable:
    def bwd(arguments: tuple, u: Any) -> tuple:
        A, v = arguments
        dA = {"both transposed": jnp.outer(v, u), "dA over m": jnp.outer(u, v) / 4}.get(kind, jnp.outer(u, v))
        dv = {"zeros": jnp.zeros_like(v), "no transpose": A @ u, "dA for A": jnp.outer(u, v).T @ u, "sign": -A.T @ u}
        return dA, dv.get(kind, A.T @ u)

    return with_rule(lambda A, v: A @ v, bwd)


PRODUCT = Case(
    "matrix-vector product", None, product, (rng.normal(size=(4, 4)), rng.normal(size=4)),
    {
        "zeros": Wish("dv", "0 everywhere"),
        "no transpose": Wish("dv", "transpose"),
        "both transposed": Wish("dA", "transposed"),
        "dA over m": Wish("dA", "1/4|axis"),
        "dA for A": Wish("dv", "linear"),
        "sign": Wish("dv", "sign"),
    },
)  # fmt: skip


def heads(kind: str) -> Callable:
    def bwd(arguments: tuple, u: Any) -> tuple:
        x, s = arguments
        d = u * s[:, None, None]
        return {
            "batch axes exchanged": d.transpose(1, 0, 2),
            "heads flipped": d[:, ::-1],
            "one step late": jnp.roll(d, 1, axis=2),
            "last step dropped": d.at[..., -1].set(0),
        }.get(kind, d), jnp.sum(u * x, axis=(0, 1) if kind == "sum over the wrong axes" else (1, 2))

    return with_rule(lambda x, s: x * s[:, None, None], bwd)


HEADS = Case(
    "scaled heads", None, heads, (rng.normal(size=(3, 3, 3)), rng.normal(size=3)),
    {
        "batch axes exchanged": Wish("dx", "axes 0 and 1|transpose"),
        "heads flipped": Wish("dx", "flip|reverse"),
        "one step late": Wish("dx", "shift|off by one|one step"),
        "last step dropped": Wish("dx", "last|index 2"),
        "sum over the wrong axes": Wish("ds", "axes|axis"),
    },
)  # fmt: skip
CASES = ACTIVATION, GATED, SEGMENTS, LOOKUP, PRODUCT, HEADS
