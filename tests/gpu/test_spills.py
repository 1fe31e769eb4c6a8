"""No form of the kernel spills, and each has the registers in the table of docs/gpu.md, on each generation of GPUs."""

import re

import pytest
from gpu import page
from gpu.kernels import CHIPS, CORNERS, PRECISIONS, form_of, registers_and_spills, row_of

import manual_bp as bp
from manual_bp._kernel import fused, takes


@pytest.mark.parametrize("name", CORNERS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_registers_and_spills(precision, name):
    found = row_of(name, precision)
    assert all(cell.endswith(", 0") for cell in found[2:]), found
    assert page.row(*found) in page.PAGE.read_text().splitlines(), "the kernel has changed: make gpu-page"


def test_a_spill_is_seen():
    """A form beyond what is taken spills, and the compiler's log says so."""
    form = takes.Form(bp.Network((128, 128, 128, 128, 10)), "BFLOAT16", True, True)
    assert form.registers > takes.REGISTERS
    assert registers_and_spills(form, CHIPS["H100"])[1] > 0


def test_ptx():
    form = form_of(CORNERS["5x64"], "TF32", CHIPS["H100"])
    text = fused.ptx(form, "90")
    assert ".version 9.0" in text and ".target sm_90" in text and ".entry fused" in text
    # sums are in a fixed order
    assert not re.search(r"\b(atom|red)\.", text)
