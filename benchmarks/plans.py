"""The plans: the cells that each suite measures, and the time it spends on each."""

import itertools
import math
import random
from typing import NamedTuple

# The costs by the output's activation; a softmax has class indices as targets, the others a column for each example
COSTS = {"softmax": "cross_entropy", "sigmoid": "cross_entropy", "identity": "squared_error"}


class Network(NamedTuple):
    """A network to measure: its name in tables and on the command line, sizes and activations."""

    name: str
    sizes: tuple[int, ...]
    hidden: str = "relu"
    output: str = "softmax"

    @property
    def activations(self) -> dict[str, str]:
        """The activations, or nothing if they are ReLU and softmax, which every plan has."""
        plain = self.hidden == "relu" and self.output == "softmax"
        return {} if plain else {"hidden": self.hidden, "output": self.output}


Point = tuple[Network, int]  # a network and a batch size

NETWORKS = {
    "784-128-10": (784, 128, 10),
    "784-512-512-10": (784, 512, 512, 10),
    "5x64": (64, 64, 64, 64, 64, 10),
    "1024-1024-1024-1024": (1024, 1024, 1024, 1024),
}


class Plan(NamedTuple):
    """A grid of networks and batch sizes, further points, and the time spent on each.

    A cell gets as many rounds as fit into `seconds`, at least `least` and at most `most`.
    """

    summary: str  # shown by --help
    networks: tuple[Network, ...]
    batch_sizes: tuple[int, ...]
    seconds: float
    also: tuple[Point, ...] = ()
    least: int = 8
    most: int = 500

    @property
    def points(self) -> list[Point]:
        """Every network and batch size, each pair once."""
        return list(dict.fromkeys([*itertools.product(self.networks, self.batch_sizes), *self.also]))


def equal_widths(layers: int, width: int) -> Network:
    """A network like 5x64: inputs and hidden layers of one width, 10 outputs."""
    return Network(f"{layers}x{width}", (width,) * layers + (10,))


def random_points(number: int, seed: int) -> tuple[Point, ...]:
    """Networks and batch sizes as people may have them: sizes on a logarithmic scale, and no favourite activation."""
    rng = random.Random(seed)

    def drawn(least: int, most: int) -> int:
        return round(math.exp(rng.uniform(math.log(least), math.log(most))))

    def point() -> Point:
        hidden = (drawn(8, 1024) for _ in range(rng.randint(1, 5)))
        sizes, output = (drawn(4, 1024), *hidden, drawn(2, 128)), rng.choice(list(COSTS))
        activation = rng.choice(["relu", "relu", "tanh", "sigmoid", "gelu", "silu"])
        name = ":".join(["-".join(map(str, sizes)), activation, output])
        return Network(name, sizes, activation, output), drawn(1, 8192)

    return tuple(point() for _ in range(number))


def _named(*names: str) -> tuple[Network, ...]:
    return tuple(Network(name, NETWORKS[name]) for name in names)


ALL, THREE = _named(*NETWORKS), _named("784-128-10", "784-512-512-10", "5x64")
POWERS_OF_4 = tuple(4**k for k in range(9))
WIDER = tuple((equal_widths(4, 2**k), 256) for k in range(4, 12))
DEEPER = tuple((equal_widths(2**k, 64), 256) for k in range(1, 7))

GRADIENTS = {
    "quick": Plan("four networks at 1, 16 and 1,024; under a minute on two cores", ALL, (1, 16, 1024), seconds=1.0),
    # A round of the largest cell, 1024-1024-1024-1024 at 65,536, takes 20 s on two cores. It gets eight rounds
    "full": Plan("four networks at 1 to 65,536; about ten minutes on two cores", ALL, POWERS_OF_4, seconds=6.0),
    "scaling": Plan(
        "growth with batch size (5x64), width (4 layers of 16 to 2,048) and depth (2 to 64 layers of 64); about four "
        "minutes on two cores",
        _named("5x64"),
        POWERS_OF_4,
        seconds=6.0,
        also=WIDER + DEEPER,
    ),
    "depth": Plan(
        "5, 15, 30 and 60 layers of 64 at 256, to see how compile time grows; under a minute on two cores",
        tuple(equal_widths(layers, 64) for layers in (5, 15, 30, 60)),
        (256,),
        seconds=6.0,
    ),
}
QUANTITIES = {
    "quick": Plan("784-512-512-10 at 256; under a minute on two cores", _named("784-512-512-10"), (256,), seconds=1.0),
    "full": Plan("three networks at 32, 256 and 2,048; half an hour on two cores", THREE, (32, 256, 2048), seconds=5.0),
}
TRAINING = {
    "quick": Plan("784-128-10 at 32 and 128; under a minute on two cores", THREE[:1], (32, 128), seconds=2.0),
    "full": Plan(
        "three networks at 32 to 2,048, also with torch_compile; about ten minutes on two cores",
        THREE,
        (32, 128, 512, 2048),
        seconds=12.0,
    ),
}
ROOFLINE = {
    "quick": Plan("four networks at 16 and 1,024; under a minute on two cores", ALL, (16, 1024), seconds=1.0),
    "full": Plan("four networks at 1 to 65,536; about six minutes on two cores", ALL, POWERS_OF_4, seconds=6.0),
}
