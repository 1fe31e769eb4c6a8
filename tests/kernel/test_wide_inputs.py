"""More inputs than fit the chip: the kernel between two products of XLA, against autodiff in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kernel_problems import BOUNDS, drawn

import manual_bp as bp
from reference.autodiff import Model
from reference.compare import largest_error

SMALL = Model((129, 33, 20, 10), ("tanh", "elu"))
# (model, precision, targets, weighted)
WIDE = {
    **{f"129 inputs, {precision}": (SMALL, precision, "indices", True) for precision in BOUNDS},
    "200 inputs": (Model((200, 64, 5), "sigmoid", "sigmoid"), "FLOAT32", "columns", False),
    "784 inputs": (Model((784, 128, 10), "relu"), "TF32", "indices", False),
}


def of_user(name: str, m: int = 257):
    """The cost and the gradient of the function that a user calls, and what they should be."""
    model, precision, targets, weighted = WIDE[name]
    params, X, Y, weights, true = drawn(model, m, targets, weighted)
    if weights is not None:
        X = np.where(weights == 0, np.nan, X)  # whatever an absent example holds stays its own
    dtype = jnp.bfloat16 if precision == "BFLOAT16" else jnp.float32
    params = jax.tree.map(lambda p: jnp.asarray(p, dtype), params)
    with jax.default_matmul_precision("highest" if precision == "FLOAT32" else None):
        return bp.value_and_grad(bp.Network(*model), kernel="fused")(params, X, Y, weights), true


def error(name: str, m: int = 257) -> float:
    return largest_error(*of_user(name, m))


@pytest.mark.parametrize("name", WIDE)
def test_wide_inputs(gpu, name):
    for m in (1, 257):
        assert error(name, m) <= BOUNDS[WIDE[name][1]]
    assert {(form.precision, form.is_wide) for form in gpu.called} == {(WIDE[name][1], True)}


def test_the_order_of_threads_changes_nothing(gpu):
    bits = set()
    for gpu.how["seed"] in (0, 1, 2):
        found, _ = of_user("129 inputs, FLOAT32")
        bits.add(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(found)))
    assert len(bits) == 1


# (the line as it is, the line made wrong)
MISTAKES = {
    "Z[1] without W[1] A[0]": ("z += product.x, z_beside += product.y;", ""),
    "W[1] A[0] of a neighbour": ("z += product.x, z_beside += product.y;", "z += product.y, z_beside += product.x;"),
    "Z[1] without b[1]": ("z = z_beside = b[row]", "z = z_beside = 0"),
    "dZ[1] without g'": ("d * g_prime(l, a.x), d_beside * g_prime(l, a.y)", "d, d_beside"),
    "dZ[2] for dZ[1]": ("= block.dZ(1)(row, column)", "= block.dZ(2)(row, column)"),
    "dZ[1] of one tile": ("write_dZ_1(block, dZ_1, tile * TILE, *m)", "write_dZ_1(block, dZ_1, 0, *m)"),
    "dZ[1] of all but the last example": ("if (first + column < m) dZ_1", "if (first + column < m - 1) dZ_1"),
}


def test_mistakes_are_noticed(gpu):
    assert error("129 inputs, FLOAT32") <= 2e-6
    for name, gpu.how["change"] in MISTAKES.items():
        assert not error("129 inputs, FLOAT32") <= 1e-4, name


@pytest.mark.parametrize(
    "mistake",
    [
        ("output.select", lambda X, present: X),
        ("weighted_input", lambda W, X: W @ X + 1),
        ("weight_gradient", lambda dZ, A, W: dZ[:, :-1] @ A[:, 1:].T),
    ],
    ids=["absent examples", "W[1] A[0]", "dW[1]"],
)
def test_mistakes_of_the_products_are_noticed(gpu, monkeypatch, mistake):
    name, wrong = mistake
    monkeypatch.setattr(f"manual_bp._kernel.fused.{name}", wrong)
    assert not error("129 inputs, FLOAT32") <= 1e-4
