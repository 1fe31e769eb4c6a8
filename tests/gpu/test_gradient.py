"""The gradient as it is compiled for an H100; and each check of it, on programs that it has to find fault with."""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import pytest
from gpu.faults import faults
from gpu.gradients import CASES, Case, arguments, by_autodiff, by_hand
from gpu.h100 import Program, compiled
from gpu.reading import added_in_any_order, kernels, products, rearrangements

import manual_bp as bp
from manual_bp._machine import class_indices
from manual_bp._machine import products as machine_products
from reference import autodiff

# Both forms of products are in it, those for a CPU and the others
SMALL = Case((700, 300, 130, 10), 600)


@pytest.mark.parametrize("cublas", [False, True], ids=["Triton", "cuBLAS"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_gradient(case, cublas):
    assert not faults(case, by_hand(case, cublas), by_autodiff(case, cublas))


@pytest.fixture(scope="module")
def small() -> tuple[Program, Program]:
    return by_hand(SMALL, cublas=True), by_autodiff(SMALL, cublas=True)


@pytest.fixture
def forced(monkeypatch, request) -> Iterator[Program]:
    """The gradient with the forms that a module has for a CPU."""
    monkeypatch.setattr(request.param, "on_cpu", lambda cpu_form, other_form, *args: cpu_form(*args))
    jax.clear_caches()
    yield by_hand(SMALL, cublas=True)
    jax.clear_caches()


@pytest.mark.parametrize(
    ("forced", "found"),
    [(machine_products, "forms of a CPU"), (class_indices, "order of a sum")],
    indirect=["forced"],
    ids=["products", "class indices"],
)
def test_the_forms_for_a_cpu_are_noticed(forced, found, small):
    assert not faults(SMALL, *small)
    assert found in faults(SMALL, forced, small[1])


def test_another_precision_is_noticed(small):
    assert faults(SMALL._replace(precision="highest"), *small) == {"products"}
    assert faults(SMALL._replace(dtype="float64"), *small) == {"products"}
    # one product of eight
    one = small[0]._replace(
        text=small[0].text.replace('"operand_precision":["DEFAULT"', '"operand_precision":["HIGH"', 1)
    )
    assert faults(SMALL, one, small[1]) == {"products"}


def test_a_bias_epilogue_is_noticed(small):
    """With examples in rows the bias lies along the rows in memory, where cuBLAS can add it."""
    params, X, Y = arguments(SMALL)
    rows = jax.ShapeDtypeStruct(X.shape[::-1], X.dtype)
    gradient = jax.jit(jax.value_and_grad(functools.partial(autodiff.cost_of_rows, autodiff.Model(SMALL.sizes))))
    in_rows = compiled(gradient, params, rows, Y, cublas=True)
    assert sum(n for product, n in products(in_rows.text).items() if product.epilogue == "bias") == 3
    assert {"products", "order of a sum"} <= faults(SMALL, in_rows, small[1])


def test_a_sum_in_any_order_is_noticed(small):
    """Autodiff adds the derivative of the entry at the class to zeros, by atomic additions."""
    assert faults(SMALL, small[1], small[1]) == {"order of a sum"}
    assert len(added_in_any_order(small[1].text)) == 1


def test_more_kernels_and_memory_are_noticed(small):
    """A transposed copy of X, and the gradient of twice as many examples."""
    params, X, Y = arguments(SMALL)
    gradient = bp.value_and_grad(bp.Network(SMALL.sizes))
    more = compiled(jax.jit(lambda *args: (gradient(*args), args[1].T)), params, X, Y, cublas=True)
    assert {"kernels", "rearrangements"} <= faults(SMALL, more, small[0])
    twice = by_hand(SMALL._replace(m=2 * SMALL.m), cublas=True)
    assert faults(SMALL, twice, small[0]) == {"memory"}


def test_what_is_a_kernel():
    """A fusion is one, and so is an array that moves; a loop's body counts once."""
    x = jax.ShapeDtypeStruct((300, 500), jnp.float32)
    one = compiled(jax.jit(lambda x: jnp.exp(x) * 2 + 1), x)
    moved = compiled(jax.jit(lambda x: x.T), x)
    assert len(kernels(one.text)) == len(kernels(moved.text)) == len(rearrangements(moved.text)) == 1
    assert not rearrangements(one.text)

    def loop(times):
        return jax.jit(lambda x: jax.lax.fori_loop(0, times, lambda i, x: jnp.roll(x, 1) * x, x))

    assert len(kernels(compiled(loop(5), x).text)) == len(kernels(compiled(loop(50), x).text)) > 1
