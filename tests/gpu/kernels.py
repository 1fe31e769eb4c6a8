"""The forms of the fused kernel that are compiled: by XLA for the H100, and by NVRTC for each generation of GPUs."""

import re
from typing import Any, NamedTuple
from unittest import mock

from gpu.gradients import NARROW, Case, by_hand
from gpu.h100 import Program

import manual_bp as bp
from manual_bp._kernel import fused, takes
from manual_bp._kernel.chips import Chip

CHIPS = {
    "A100": Chip("8.0", 108, 166912),
    "H100": Chip("9.0", 132, 232448),
    "B200": Chip("10.0", 148, 232448),
}
PRECISIONS = ("TF32", "FLOAT32", "BFLOAT16")
MNIST = (784, 128, 10)
CASES = [
    case
    for sizes in (NARROW, MNIST)
    for case in (
        Case(sizes, 65_536),
        Case(sizes, 65_536, precision="highest"),
        Case(sizes, 65_536, "bfloat16"),
        Case(sizes, 65_536, weighted=True),
        Case(sizes, 128),
    )
]


class Corner(NamedTuple):
    """A network at a limit of what the kernel takes."""

    sizes: tuple[int, int, int]  # n_0, the units of a hidden layer, n_L
    layers: int | None  # hidden ones; None for as many as fit the chip
    hidden: Any = "tanh"
    cost: Any = "squared_error"
    indices: bool = False


CORNERS = {
    "widest": Corner((128, 128, 32), None),
    "wide inputs": Corner((784, 128, 32), None),
    "deepest": Corner((128, 64, 32), None, "elu"),
    "5x64": Corner((64, 64, 10), 4, "relu", "cross_entropy", True),
}


def by_kernel(case: Case) -> Program:
    """The gradient by the fused kernel, compiled by XLA for the H100."""
    with mock.patch.object(fused, "chip_here", lambda: CHIPS["H100"]):
        return by_hand(case, kernel="fused")


def form_of(corner: Corner, precision: str, chip: Chip) -> takes.Form:
    n_0, width, n_L = corner.sizes
    forms = [
        takes.form_of(
            bp.Network((n_0, *[width] * count, n_L), corner.hidden, "softmax", corner.cost),
            precision,
            corner.indices,
            True,
            chip,
        )
        for count in ([corner.layers] if corner.layers else range(1, takes.MOST_LAYERS + 1))
    ]
    return [form for form in forms if form][-1]


def registers_and_spills(form: takes.Form, chip: Chip) -> tuple[int, int]:
    """The registers of a thread, and the bytes that do not fit into them, as NVRTC says."""
    options = f"--gpu-architecture=sm_{chip.architecture}", "--ptxas-options=-v"
    _, log = fused.compiled(form, *options, result="CUBIN")
    (registers,) = re.findall(r"Used (\d+) registers", log)
    ((stack, stores, loads),) = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill", log)
    return int(registers), int(stack) + int(stores) + int(loads)


def row_of(name: str, precision: str) -> list[str]:
    """A network, and for each chip its hidden layers, the registers, and the bytes that are spilled."""
    n_0, width, n_L = CORNERS[name].sizes
    cells = []
    for chip in CHIPS.values():
        form = form_of(CORNERS[name], precision, chip)
        registers, spilled = registers_and_spills(form, chip)
        cells.append(f"{form.L - 1}, {registers}, {spilled}")
    return [f"{n_0}, {width}, {n_L} {CORNERS[name].hidden}", precision, *cells]
