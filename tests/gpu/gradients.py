"""The gradients that are compiled: by hand, and by autodiff of the same convention, columns of examples."""

import functools
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from gpu.h100 import Program, compiled

import manual_bp as bp
from reference import autodiff

NARROW, WIDE = (64, 64, 64, 64, 64, 10), (784, 512, 512, 10)


class Case(NamedTuple):
    """A network, the number of its examples, and how they are computed."""

    sizes: tuple[int, ...]
    m: int
    dtype: str = "float32"
    precision: str = "default"
    weighted: bool = False

    @property
    def name(self) -> str:
        precision = {"default": "TF32", "highest": '"highest"'}[self.precision] if self.dtype == "float32" else ""
        weights = "weights" if self.weighted else ""
        return " ".join(filter(None, ["-".join(map(str, self.sizes)), f"{self.m:,}", self.dtype, precision, weights]))


CASES = [
    case
    for sizes, many in ((NARROW, 65_536), (WIDE, 4_096))
    for case in (
        Case(sizes, many),
        Case(sizes, many, precision="highest"),
        Case(sizes, many, "bfloat16"),
        Case(sizes, many, "float64"),
        Case(sizes, many, weighted=True),
        Case(sizes, 1),
        Case(sizes, sizes[1]),  # m = n: nothing but the equation tells a matrix from its transpose
    )
]


def arguments(case: Case) -> tuple[Any, ...]:
    """The shapes of params, X, class indices Y, and weights if there are any."""
    n, like = case.sizes, cast(Any, functools.partial(jax.ShapeDtypeStruct, dtype=jnp.dtype(case.dtype)))
    params = tuple(bp.Layer(like((rows, columns)), like((rows, 1))) for columns, rows in zip(n, n[1:], strict=False))
    weights = (like((case.m,)),) if case.weighted else ()
    return params, like((n[0], case.m)), jax.ShapeDtypeStruct((case.m,), jnp.int32), *weights


def by_hand(case: Case, cublas: bool = False, **options: Any) -> Program:
    return _compiled(bp.value_and_grad(bp.Network(case.sizes), **options), case, cublas)


def by_autodiff(case: Case, cublas: bool = False) -> Program:
    return _compiled(jax.jit(autodiff_gradient(case.sizes)), case, cublas)


def autodiff_gradient(sizes: tuple[int, ...]) -> Any:
    """(params, X, Y, weights=None) -> (cost, gradient), what an absent example holds selected out, as by hand."""
    model = autodiff.Model(sizes)

    def cost(params: Any, X: jax.Array, Y: jax.Array, weights: jax.Array | None = None) -> jax.Array:
        return autodiff.cost(model, params, X if weights is None else jnp.where(weights != 0, X, 0), Y, weights)

    return jax.value_and_grad(cost)


def _compiled(function: Any, case: Case, cublas: bool) -> Program:
    return compiled(function, *arguments(case), precision=case.precision, cublas=cublas)
