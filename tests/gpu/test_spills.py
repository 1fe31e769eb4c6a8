"""No form of the kernel spills: compiled by NVRTC for each generation of GPUs, at the corners of what it takes."""

import re

import pytest

import manual_bp as bp
from manual_bp._kernel import fused, takes
from manual_bp._kernel.chips import Chip

CHIPS = {
    "A100": Chip("8.0", 108, 166912),
    "H100": Chip("9.0", 132, 232448),
    "B200": Chip("10.0", 148, 232448),
}
# (sizes but for the depth, hidden layers or None for as many as fit, hidden, output, cost, class indices)
CORNERS = {
    "widest": ((128, 128, 32), None, "tanh", "softmax", "squared_error", False),
    "deepest": ((128, 64, 32), None, "elu", "softmax", "squared_error", False),
    "5x64": ((64, 64, 10), 4, "relu", "softmax", "cross_entropy", True),
}


def form_of(corner, precision: str, chip: Chip) -> takes.Form:
    (n_0, width, n_L), layers, hidden, output, cost, indices = corner
    forms = [
        takes.form_of(bp.Network((n_0, *[width] * count, n_L), hidden, output, cost), precision, indices, True, chip)
        for count in ([layers] if layers else range(1, takes.MOST_LAYERS + 1))
    ]
    return [form for form in forms if form][-1]


def registers_and_spills(form: takes.Form, chip: Chip) -> tuple[int, int]:
    options = f"--gpu-architecture=sm_{chip.architecture}", "--ptxas-options=-v"
    _, log = fused.compiled(form, *options, result="CUBIN")
    (registers,) = re.findall(r"Used (\d+) registers", log)
    ((stack, stores, loads),) = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill", log)
    return int(registers), int(stack) + int(stores) + int(loads)


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("precision", ["TF32", "FLOAT32", "BFLOAT16"])
@pytest.mark.parametrize("chip", CHIPS)
def test_no_spill(chip, precision, corner):
    form = form_of(CORNERS[corner], precision, CHIPS[chip])
    registers, spilled = registers_and_spills(form, CHIPS[chip])
    print(f"{chip} {precision} {form.padded} tile {form.tile}: {registers} registers, {form.shared_bytes} bytes shared")
    assert spilled == 0


def test_a_spill_is_seen():
    """A form beyond what is taken spills, and the compiler's log says so."""
    form = takes.Form(bp.Network((128, 128, 128, 128, 10)), "BFLOAT16", True, True)
    assert form.registers > takes.REGISTERS
    assert registers_and_spills(form, CHIPS["H100"])[1] > 0


def test_ptx():
    form = form_of(CORNERS["5x64"], "TF32", CHIPS["H100"])
    text = fused.ptx(form, "90")
    assert ".target sm_90" in text and ".entry fused" in text
    # sums are in a fixed order
    assert not re.search(r"\b(atom|red)\.", text)
