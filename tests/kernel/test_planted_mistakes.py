"""The emulation notices what is wrong: a barrier that is left out, and a mistake in each equation of the kernel's text."""

import re

import numpy as np
import pytest
from emulated_kernel import TEXT
from kernel_problems import WIDTHS, errors, form_of

CASE = WIDTHS["33 wide"]
FORM = form_of(CASE[0], "FLOAT32", *CASE[3:])
BARRIERS = [number for number, line in enumerate(TEXT.splitlines(), start=1) if "__syncthreads()" in line]


def test_every_barrier_is_known():
    assert len(BARRIERS) == len(re.findall("__syncthreads", TEXT)) == 7


@pytest.mark.parametrize("line", BARRIERS)
def test_each_barrier_is_needed(line):
    """Without it, some order of the threads gives another result."""
    error, rows = errors(FORM, CASE)
    assert error <= 2e-6
    without = (errors(FORM, CASE, seed=seed, left_out=line)[1] for seed in range(20))
    assert not all(np.array_equal(rows, other) for other in without)


# (the line as it is, the line made wrong)
MISTAKES = {
    "Z without b": ("z = z_beside = b[row]", "z = z_beside = 0"),
    "Z of A[l]": ("block.W(l), block.A(l - 1), n(l - 1));", "block.W(l), block.A(l > 1 ? l - 2 : 0), n(l - 1));"),
    "A without g": ("g(l, z), g(l, z_beside)", "z, z_beside"),
    "g'(Z) of tanh": ("return (1 - A) * (1 + A);", "return 1 - A;"),
    "g' of relu at 0": ("return A > 0 ? 1 : 0;", "return A >= 0 ? 1 : 0;"),
    "dZ[L] with the wrong sign": ("return out.A(i) * sum - out.Y(i);", "return out.Y(i) - out.A(i) * sum;"),
    "dZ[L] without w": ("dZ(out, i, sum) * w : 0", "dZ(out, i, sum) : 0"),
    "a loss without w": ("return C * w;", "return C;"),
    "a loss of another base": ("Y * (logf(out.total) - ", "Y * (log2f(out.total) - "),
    "an absent example multiplied": ("w != 0 && i < OUTPUTS ? dZ", "i < OUTPUTS ? dZ"),
    "dW of A[l]": ("block.dZ(l), block.A(l - 1), TILE", "block.dZ(l), block.A(l < L ? l : l - 1), TILE"),
    "db of half the examples": ("i < TILE; i += THREADS_PER_ROW", "i < TILE / 2; i += THREADS_PER_ROW"),
    "dA without the transpose": (
        "add_product<true, false>(dA, part, block.W(l)",
        "add_product<false, false>(dA, part, block.W(l)",
    ),
    "dZ[l] without g'": ("d * g_prime(l, a.x), d_beside * g_prime(l, a.y)", "d, d_beside"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_noticed(name):
    error, _ = errors(FORM, CASE, MISTAKES[name])
    assert not error <= 1e-4
