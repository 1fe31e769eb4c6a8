"""Which networks the kernel takes, and the form in which it is compiled for one."""

import dataclasses
from typing import Any, Literal

import jax.numpy as jnp

from manual_bp._activations import ACTIVATIONS
from manual_bp._costs import COSTS, CROSS_ENTROPIES
from manual_bp._kernel.chips import Chip
from manual_bp._network import Network

Kernel = Literal["auto", "fused"]
# Sizes of a layer whose 16 by 8 tiles eight warps can share; others are padded with zeros
PADDED = (16, 32, 48, 64, 96, 128)
NAMES = {ACTIVATIONS[name]: name for name in ("identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "softmax")}
COST_NAMES = {cost: "cross_entropy" for cost in CROSS_ENTROPIES.values()} | {cost: name for name, cost in COSTS.items()}
# A deeper kernel takes long to compile
MOST_LAYERS = 16
# The registers of a thread, of 255, that sums may take, such that no form spills (tests/gpu/test_spills.py)
REGISTERS = 168
# Examples are counted in 32 bits, and the last tile may go past them
MOST_EXAMPLES = 2**31 - 64

TAKEN = (
    "1 to 16 hidden layers of up to 128 units, as many as fit the GPU, up to 32 outputs and any number of inputs; the "
    "activations identity, sigmoid, tanh, relu, leaky_relu and elu, and softmax at the output; the library's costs; "
    "parameters in float32 or bfloat16; fewer than 2^31 - 64 examples; compute capability 8.0 or more; no mesh, "
    "jax.vmap, jax.jvp or jax.grad"
)


@dataclasses.dataclass(frozen=True)
class Form:
    """The kernel for one network and kind of arguments."""

    network: Network
    precision: str
    indices: bool
    weighted: bool
    tile: int = 64

    @property
    def L(self) -> int:
        return len(self.network.activations)

    @property
    def is_wide(self) -> bool:
        """Whether A[0] is too wide for the chip: XLA then forms W[1] A[0], and dW[1] from the kernel's dZ[1]."""
        return self.network.sizes[0] > PADDED[-1]

    @property
    def padded(self) -> tuple[int, ...]:
        """The rows of A[0..L] on the chip, with padding: none of a wide A[0]. The hidden layers are equally wide."""
        n_0, *hidden, n_L = self.network.sizes
        return 0 if self.is_wide else pad(n_0), *[pad(max(hidden))] * len(hidden), pad(n_L)

    @property
    def defines(self) -> dict[str, object]:
        """The definitions that the compiler is given."""
        n_0, *hidden, n_L = self.padded
        return {
            "PRECISION": self.precision,
            "HIDDEN": self.L - 1,
            "INPUTS": self.network.sizes[self.is_wide],
            "OUTPUTS": self.network.sizes[-1],
            "N0": n_0,
            "WIDTH": hidden[0],
            "OUT": n_L,
            "TILE": self.tile,
            "UNROLLED": 1 if not self.is_light else 4 if self.precision == "TF32" else 2,
            "AHEAD": int(self.is_light),
            "ACTIVATIONS": ", ".join(NAMES[g].upper() for g in self.network.activations),
            "COST": COST_NAMES[self.network.cost].upper(),
            "INDICES": int(self.indices),
            "WEIGHTED": int(self.weighted),
        }

    @property
    def layers(self) -> list[tuple[int, int]]:
        """The padded shapes of W[1..L]."""
        return list(zip(self.padded[1:], self.padded, strict=False))

    @property
    def row_size(self) -> int:
        """The length of a row of sums: dW and db of every layer, cost and weight."""
        return sum(n * k + n for n, k in self.layers) + 2

    @property
    def shared_bytes(self) -> int:
        size = 2 if self.precision == "BFLOAT16" else 4
        banks = 128 // size
        W = sum(n * -(-k // banks) * banks for n, k in self.layers)
        A = sum(self.padded) * -(-self.tile // banks) * banks
        return size * (W + A) + 4 * (self.padded[-1] * self.tile + sum(self.padded[1:]) + 16)

    @property
    def registers(self) -> int:
        """The registers of a thread that hold its parts of dW, db and one Z[l] or dA[l]."""

        def part(rows: int, columns: int, most_down: int) -> int:  # part_of_warp in hardware.cuh
            down = most_down if rows % (16 * most_down) == 0 else 2 if rows % 32 == 0 else 1
            return 4 * (rows // 16 // down) * -(-columns // 8 // (8 // down))

        dW = sum(part(n, k, 4) for n, k in self.layers)
        Z = max(part(n, self.tile, 2) for n, _ in self.layers)
        return dW + self.L + Z

    @property
    def is_light(self) -> bool:
        """Whether registers are left over to hide the time that memory takes."""
        return self.registers <= 92 and self.padded[self.is_wide] <= 64


def pad(n: int) -> int:
    return next(size for size in PADDED if size >= n)


def check_option(kernel: Kernel, mesh: Any, block_size: Any = None) -> None:
    """Refuse a kernel that there is not, or options that it does not go with."""
    if not isinstance(kernel, str) or kernel not in ("auto", "fused"):
        raise ValueError(f"kernel is {kernel!r}; expected 'auto' or 'fused'")
    if kernel == "fused" and mesh is not None:
        raise ValueError(f"kernel='fused' is given together with a mesh; expected {TAKEN}")
    if kernel == "fused" and block_size not in ("auto", None):
        raise ValueError(
            f"block_size is {block_size} with kernel='fused', whose blocks are its own; expected 'auto' or None"
        )


def refusal(network: Network, dtype: jnp.dtype, m: int, chip: Chip | None) -> str | None:
    """A sentence with what came and what the kernel takes; None for a network that it takes on the chip, if any."""
    problem = _problem(network, dtype, m)
    if problem is None and chip is not None:
        precision = "BFLOAT16" if dtype == jnp.bfloat16 else "FLOAT32"
        if float(chip.capability) < 8:
            problem = f"a GPU of compute capability {chip.capability}, below 8.0"
        elif form_of(network, precision, True, True, chip) is None:
            problem = f"sizes {network.sizes}, too large for the registers and the shared memory of this GPU"
    return problem and f"kernel='fused' has {problem}; expected {TAKEN}"


def form_of(network: Network, precision: str, indices: bool, weighted: bool, chip: Chip) -> Form | None:
    """The form with the largest tile that fits the chip."""
    for tile in (64, 32):
        form = Form(network, precision, indices, weighted, tile)
        if form.shared_bytes <= chip.shared_bytes and form.registers <= REGISTERS:
            return form
    return None


def _problem(network: Network, dtype: jnp.dtype, m: int) -> str | None:
    _, *hidden, n_L = network.sizes
    for g in network.activations:
        if g not in NAMES:
            return f"the activation {g}"
    if network.cost not in COST_NAMES:
        return f"the cost {network.cost}"
    if not 1 <= len(hidden) <= MOST_LAYERS or max(hidden) > 128 or n_L > 32:
        return f"sizes {network.sizes}"
    if dtype not in (jnp.float32, jnp.bfloat16):
        return f"parameters of dtype {dtype}"
    if m >= MOST_EXAMPLES:
        return f"{m:,} examples"
    return None
