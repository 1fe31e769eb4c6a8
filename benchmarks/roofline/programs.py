"""The gradient, and the programs that bound its time: its matrix products alone, and a copy of the bytes it moves."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

import manual_bp as bp
from benchmarks.program import Compiled, Problem, random_problem
from manual_bp._machine import blocks

BLOCKS = 16  # the most blocks in one call: with a call for each, the calls would take a sixth of the time
WRITTEN = 32 * blocks.MiB  # the most that a call may write: beyond it, mapping new pages takes longer than products


class Factors(NamedTuple):
    """The factors of the products of a gradient, lists over the layers, with transposes for one of the forms."""

    W: list[Array]
    W_T: list[Array]
    A: list[Array]  # A[0] to A[L-1]
    dZ: list[Array]  # divided by the number of examples, for the mean
    A_T: list[Array] | None = None
    dZ_T: list[Array] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Gradient(Compiled):
    """The whole gradient. Its result to compare is dW of the first `block` examples."""

    block: int

    def result(self) -> list[Array]:
        params, X, Y = self.args
        _, grads = self.function(params, X[:, : self.block], Y[: self.block])
        return [layer.W for layer in grads]


@dataclasses.dataclass(frozen=True, eq=False)
class Products(Compiled):
    """The products of all blocks of a batch, in `calls` calls. Their result to compare is dW of one block."""

    block: int
    calls: int
    are_transposed: bool = False

    @functools.cached_property
    def preparation(self) -> dict[str, Any]:
        return super().preparation | {"block": self.block, "examples": self.block * len(self.args) * self.calls}

    def __call__(self) -> Any:
        for _ in range(self.calls - 1):
            jax.block_until_ready(self.function(*self.args))
        return self.function(*self.args)

    def result(self) -> list[Array]:
        dW, _ = self.function(*self.args)
        return _transposed(dW) if self.are_transposed else dW


@dataclasses.dataclass(frozen=True, eq=False)
class Copy(Compiled):
    """A program that reads an array and writes it in place, so that no call asks the system for memory."""

    held: list[Array]

    def __call__(self) -> Array:
        self.held[0] = self.function(self.held[0])
        return self.held[0]


def of_cell(sizes: tuple[int, ...], batch_size: int, dtype: str) -> dict[str, Compiled]:
    """The programs of a cell.

    "manual" is `bp.value_and_grad`; the others are its limits. "products" are its matrix products at its shapes, those
    of a block if it takes the examples in blocks. Their factors are given, each in the layout that suits it.
    "products_transposed" forms the transpose of each. "copy" reads half of the bytes of `traffic` and writes the other
    half. "control" is a second copy of "products", compiled separately.
    """
    problem = random_problem(sizes, batch_size, dtype)
    network, X = problem.network, problem.X
    block, at_once = in_a_call(sizes, batch_size, X.dtype.itemsize)
    calls = batch_size // (block * at_once)
    given = factors(problem, block)
    turned = given._replace(A_T=_transposed(given.A), dZ_T=_transposed(given.dZ))
    half = jnp.zeros(-(-traffic(sizes, batch_size, dtype) // (2 * X.dtype.itemsize)), dtype)
    return {
        "manual": Gradient(bp.value_and_grad(network), problem.args, block),
        "products": Products(in_one_call(products), (given,) * at_once, block, calls),
        "products_transposed": Products(in_one_call(products_transposed), (turned,) * at_once, block, calls, True),
        "copy": Copy(jax.jit(lambda x: x + 1, donate_argnums=0), (jax.typeof(half),), [half]),
        "control": Products(in_one_call(products), (given,) * at_once, block, calls),
    }


def in_a_call(sizes: tuple[int, ...], m: int, itemsize: int) -> tuple[int, int]:
    """The number of examples in a block of products, and the number of blocks in a call.

    A block has as many examples as the gradient takes at a time, halved until Z and dA take at most `WRITTEN` bytes.
    """
    written = itemsize * (sum(sizes[1:]) + sum(sizes[1:-1]))  # for each example
    block = blocks.auto((sizes[0], m), sizes[1:], itemsize)
    while block > 1 and block * written > WRITTEN:
        block //= 2
    return block, max(1, min(m // block, BLOCKS, WRITTEN // (block * written)))


def factors(problem: Problem, m: int) -> Factors:
    """The factors of a pass over the first m examples."""

    @jax.jit
    def of_pass(params: Any, X: Array, Y: Array) -> tuple[list[Array], ...]:
        record = bp.backpropagate(problem.network, params, X, Y)
        return [W for W, _ in params], record.A[:-1], [dZ / m for dZ in record.dZ[1:]]

    W, A, dZ = of_pass(problem.params, problem.X[:, :m], problem.Y[:m])
    return Factors(W, _transposed(W), A, dZ)


def products(of: Factors) -> tuple[list[Array], ...]:
    """Form Z = W A and dA = W^T dZ from given factors, and dW = dZ A^T."""
    Z = [W @ A for W, A in zip(of.W, of.A, strict=True)]
    dA = [W_T @ dZ for W_T, dZ in zip(of.W_T[1:], of.dZ[1:], strict=True)]
    return Z, dA, [dZ @ A.T for dZ, A in zip(of.dZ, of.A, strict=True)]


def products_transposed(of: Factors) -> tuple[list[Array], ...]:
    """Form Z^T = A^T W^T and dA^T = dZ^T W from given factors, and dW^T = A dZ^T."""
    assert of.A_T is not None and of.dZ_T is not None
    Z_T = [A_T @ W_T for A_T, W_T in zip(of.A_T, of.W_T, strict=True)]
    dA_T = [dZ_T @ W for dZ_T, W in zip(of.dZ_T[1:], of.W[1:], strict=True)]
    return Z_T, dA_T, [A @ dZ.T for A, dZ in zip(of.A, of.dZ, strict=True)]


def in_one_call(form: Callable[[Factors], tuple]) -> Any:
    """(factors of each block) -> (dW of the last, a number that depends on all the other products), compiled.

    Each block is an argument, so that the compiler does not notice that the same factors are given several times. The
    function is a new one each time, so that no two share a compiled program.
    """

    @jax.jit
    def in_one_call(*given: Factors) -> tuple[list[Array], Any]:
        *others, (Z, dA, dW) = (form(of) for of in given)
        # one element of each product; the barrier keeps the compiler from leaving out the others
        corners = [lax.optimization_barrier(x)[0, 0] for x in jax.tree.leaves((others, Z, dA))]
        return dW, sum(corners)

    return in_one_call


def traffic(sizes: tuple[int, ...], batch_size: int, dtype: str) -> int:
    """The fewest bytes that a gradient moves: parameters, X and class indices read once, a gradient written once.

    This assumes that everything between the layers stays in the cache.
    """
    parameters = sum(n * (k + 1) for k, n in zip(sizes[:-1], sizes[1:], strict=True))
    return jnp.dtype(dtype).itemsize * (2 * parameters + sizes[0] * batch_size) + 4 * batch_size


def _transposed(matrices: list[Array]) -> list[Array]:
    return [x.T for x in matrices]
