"""The kit's cross-check, rehearsed on a CPU: it passes what is right in each precision, and nothing else."""

import jax
import numpy as np
import pytest

from benchmarks.gpu import verification
from manual_bp._machine import products
from reference.autodiff import Model
from reference.grid import PROBLEMS, Problem

HIGHEST, FLOAT64, TF32, BFLOAT16 = verification.PRECISIONS
BY_NAME = {problem.name: problem for problem in PROBLEMS}
MULTILABEL, RELU = BY_NAME["two layers, multilabel"], BY_NAME["relu regression"]
MANY_UNITS = Problem("many units", Model((6, 41, 3)), 61, "indices")


@pytest.fixture(autouse=True)
def apart():
    """Forgets gradients that were made with a mistake."""
    verification._by_hand.cache_clear()
    yield
    verification._by_hand.cache_clear()


@pytest.mark.parametrize("precision", [HIGHEST, FLOAT64, BFLOAT16], ids=lambda precision: precision.name)
def test_the_gradient_passes(precision):
    for problem in (MULTILABEL, RELU):
        row = verification.check(precision, problem)
        assert row["ok"] and 0 < row["error"] < row["bound"], row


# (module, the line as it is, the line made wrong)
MISTAKES = {
    "g' missing": ("_equations", "dA[l - 1] * g[l - 1].g_prime(Z[l - 1], A[l - 1])", "dA[l - 1]"),
    "b forgotten": ("_equations", "weighted_input(W[l], A[l - 1]) + b[l]", "weighted_input(W[l], A[l - 1]) + 0 * b[l]"),
    "db zero": ("_equations", "b=bias_gradient(dZ[l])", "b=0 * bias_gradient(dZ[l])"),
    "dA from another layer": ("_equations", "back_through_weights(W[l], dZ[l]", "back_through_weights(W[l], 2 * dZ[l]"),
    "1/m twice": ("_output", "return 1 / m\n", "return 1 / m**2\n"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_equations_fails(mistake, plant, monkeypatch, unjitted):
    """Even in the precision whose bounds are the widest."""
    monkeypatch.setattr(verification, "bp", plant(*MISTAKES[mistake]))
    row = verification.check(BFLOAT16, RELU, (0,))
    assert row["wrong"] and not row["ok"], row


def test_a_ten_thousandth_fails_in_float32(plant, monkeypatch, unjitted):
    monkeypatch.setattr(verification, "bp", plant("_equations", "W=product(dZ[l]", "W=1.0001 * product(dZ[l]"))
    assert verification.check(HIGHEST, RELU, (0,))["wrong"]


def test_a_lower_precision_fails(monkeypatch, unjitted):
    """Products of factors with the 10 bits of TF32 pass as TF32, and not as float32."""
    product = products._dot

    def tf32(x):
        return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=10)

    monkeypatch.setattr(products, "_dot", lambda a, b, *rest, **options: product(tf32(a), tf32(b), *rest, **options))
    assert verification.check(TF32, RELU, (0,))["ok"] and not verification.check(HIGHEST, RELU, (0,))["ok"]


def test_units_at_kinks_move_within_rounding():
    true = np.array([1.0, -1e-9, 0.5, 1e-9])
    moved = true + verification._moved(true, np.array([1.0, 1e-9, -0.5, 0.0]), 1e-6)
    assert (np.sign(moved) == [1, 1, 1, 0]).all() and np.abs(moved - true).max() < 1e-8


def test_units_at_kinks_are_counted():
    """Among so many some are at kinks in bfloat16, and the draw is judged all the same."""
    row = verification.check(BFLOAT16, MANY_UNITS)
    assert row["ok"] and row["units_at_kinks"] > 0
