"""The gradient, and what bounds its time: its matrix products alone, and moving once the bytes that it has to move."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

import manual_bp as bp
from benchmarks.problem import Problem, Program, draw
from manual_bp import _blocks as blocks


class Operands(NamedTuple):
    """What the products of a gradient multiply, lists over the layers."""

    W: list[Array]
    A: list[Array]  # A[0] to A[L-1]
    dZ: list[Array]  # over the number of examples, as the mean asks for


@dataclasses.dataclass(frozen=True, eq=False)
class Gradient(Program):
    """The whole gradient; compared is dW of the first `block` examples."""

    block: int

    def result(self) -> list[Array]:
        params, X, Y = self.args
        _, grads = self.function(params, X[:, : self.block], Y[: self.block])
        return [layer.W for layer in grads]


@dataclasses.dataclass(frozen=True, eq=False)
class Products(Program):
    """The products of one block after another, as many as there are whole blocks in a batch; compared is dW."""

    block: int
    repeats: int
    dW: Callable[[Any], list[Array]]

    @functools.cached_property
    def preparation(self) -> dict[str, Any]:
        return super().preparation | {"block": self.block}

    def __call__(self) -> Any:
        for _ in range(self.repeats - 1):
            jax.block_until_ready(self.function(*self.args))
        return self.function(*self.args)

    def result(self) -> list[Array]:
        return self.dW(self.function(*self.args))


def programs(sizes: tuple[int, ...], batch_size: int, dtype: str) -> dict[str, Program]:
    """ "manual" is `bp.value_and_grad`, the others its limits.

    "products" are its matrix products at its shapes, those of a block where it takes the examples in blocks: each on
    operands that are given, in the layout that suits it, and with a result that is returned. "products_transposed"
    forms the transpose of each. "copy" reads half of the bytes of `traffic` and writes the other half. "control" is a
    second copy of "products", compiled apart.
    """
    problem = draw(sizes, batch_size, dtype)
    network, _, params, X, Y = problem
    block = blocks.auto(sizes, batch_size, X.dtype.itemsize)
    of = operands(problem, block)

    def timed(make: Callable[[], tuple[Any, Any]], args: tuple) -> Products:
        function, dW = make()
        return Products(function, args, block, batch_size // block, dW)

    straight = of.W, _transposed(of.W), of.A, of.dZ
    transposed = of.W, _transposed(of.W), of.A, _transposed(of.A), of.dZ, _transposed(of.dZ)
    half = jnp.zeros(-(-traffic(sizes, batch_size, dtype) // (2 * X.dtype.itemsize)), dtype)
    return {
        "manual": Gradient(bp.value_and_grad(network), (params, X, Y), block),
        "products": timed(products, straight),
        "products_transposed": timed(products_transposed, transposed),
        "copy": Program(jax.jit(lambda x: x + 1), (half,)),
        "control": timed(products, straight),
    }


def operands(problem: Problem, m: int) -> Operands:
    """Those of a pass over the first m examples."""

    @jax.jit
    def of_pass(params: Any, X: Array, Y: Array) -> Operands:
        record = bp.backpropagate(problem.network, params, X, Y)
        return Operands([W for W, _ in params], record.A[:-1], [dZ / m for dZ in record.dZ[1:]])

    return of_pass(problem.params, problem.X[:, :m], problem.Y[:m])


def products() -> tuple[Any, Callable[[Any], list[Array]]]:
    """W A, W^T dZ with W^T given, and dZ A^T; a new function each time, so that no two share what JAX has compiled."""

    @jax.jit
    def products(W: list[Array], W_T: list[Array], A: list[Array], dZ: list[Array]) -> tuple[list[Array], ...]:
        Z = [w @ a for w, a in zip(W, A, strict=True)]
        dA = [w_T @ d for w_T, d in zip(W_T[1:], dZ[1:], strict=True)]
        dW = [d @ a.T for d, a in zip(dZ, A, strict=True)]
        return Z, dA, dW

    return products, lambda found: found[2]


def products_transposed() -> tuple[Any, Callable[[Any], list[Array]]]:
    """A^T W^T and dZ^T W, each factor given as it stands, and A dZ^T."""

    @jax.jit
    def products(
        W: list[Array], W_T: list[Array], A: list[Array], A_T: list[Array], dZ: list[Array], dZ_T: list[Array]
    ) -> tuple[list[Array], ...]:
        Z_T = [a_T @ w_T for a_T, w_T in zip(A_T, W_T, strict=True)]
        dA_T = [d_T @ w for d_T, w in zip(dZ_T[1:], W[1:], strict=True)]
        dW_T = [a @ d.T for a, d in zip(A, dZ, strict=True)]
        return Z_T, dA_T, dW_T

    return products, lambda found: _transposed(found[2])


def traffic(sizes: tuple[int, ...], batch_size: int, dtype: str) -> int:
    """The fewest bytes that a gradient moves: parameters, X and class indices read once, a gradient written once.

    All that lies between the layers would stay in the cache.
    """
    parameters = sum(n * (k + 1) for k, n in zip(sizes[:-1], sizes[1:], strict=True))
    return jnp.dtype(dtype).itemsize * (2 * parameters + sizes[0] * batch_size) + 4 * batch_size


def _transposed(matrices: list[Array]) -> list[Array]:
    return [x.T for x in matrices]
