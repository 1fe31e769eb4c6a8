"""The programs with the shapes of their arguments, and points at which to try them: random ones and special ones."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from reference.checker_proof.search import blocks, layers, losses, scans


class Program(NamedTuple):
    """A function in JAX and its backward pass, with the sizes of each argument as letters: "n d" for (n, d).

    After a colon stands what the argument holds if not floats: "mask", or the letter that bounds its indices.
    """

    forward: Callable
    backward: Callable
    arguments: dict[str, str]

    def __hash__(self) -> int:
        return hash(self.forward)

    @property
    def name(self) -> str:
        return self.forward.__name__

    def floats(self) -> list[str]:
        return [name for name, text in self.arguments.items() if ":" not in text]


def _program(room: Any, name: str, **arguments: str) -> Program:
    return Program(getattr(room, name), getattr(room, name + "_backward"), arguments)


PROGRAMS = (
    _program(layers, "layer_norm", x="n d", gain="d", bias="d"),
    _program(layers, "rms_norm", x="n d", gain="d"),
    _program(layers, "batch_norm", x="n d", gain="d", bias="d"),
    _program(layers, "unit_rows", x="n d"),
    _program(layers, "attention", q="n d", k="m d", v="m k"),
    _program(layers, "masked_attention", q="b n d", k="b m d", v="b m k", mask="n m:mask"),
    _program(scans, "rnn", x="n d", W="m d", U="m m", b="m"),
    _program(scans, "linear_recurrence", a="n d", x="n d"),
    _program(layers, "convolution", x="b d n", w="k d 2", b="k"),
    _program(layers, "embedding", E="d k", b="k", ids="n:d"),
    _program(layers, "segment_mean", x="n d", w="n", ids="n:3"),
    _program(blocks, "residual", x="n d", W="d k", V="k d"),
    _program(blocks, "gated", x="n d", W="d k", V="d k"),
    _program(blocks, "activations", x="n d", beta="d"),
    _program(blocks, "dropout", x="n d", W="d k", mask="n k:mask"),
    _program(blocks, "max_pool", x="n d"),
    _program(blocks, "average_pool", x="n d", w="d"),
    _program(losses, "softmax", z="n d"),
    _program(losses, "cross_entropy", z="n d", w="n", ids="n:d"),
    _program(losses, "huber", a="n d", y="n d"),
    _program(losses, "squared_error", x="n d", theta="d", y="n", w="n"),
    _program(losses, "logistic", x="n d", theta="d", y="n"),
    _program(blocks, "trilinear", x="n d", W="d m k", y="n m"),
    _program(blocks, "factorization", x="n d", V="d k"),
    _program(blocks, "distances", x="n d", c="m d"),
    _program(blocks, "chained", A="k m", B="m d", x="d n"),
    _program(blocks, "running_sum", x="n d", decay=""),
)

SIZES = {
    "distinct": {"n": 5, "d": 4, "m": 3, "k": 7, "b": 2, "2": 2, "3": 3},
    "equal": {**dict.fromkeys("ndmkb", 3), "2": 2, "3": 3},
    "ones": {"n": 4, "d": 3, "m": 1, "k": 1, "b": 1, "2": 2, "3": 3},
}
WEIGHTS = {"gain": 1.0, "beta": 1.0, "w": 1.0, "decay": 1.0, "bias": 0.0, "b": 0.0, "y": 0.0}
# positive, because a sum of weights is divided by, and a number is raised to powers
POSITIVE = {"w", "decay"}


def draw(program: Program, sizes: str, kind: str, seed: int) -> dict[str, NDArray]:
    """Draw the arguments of a program at the named sizes; the kind is a key of `KINDS`."""
    rng = np.random.default_rng(seed)
    return {name: _draw(name, text, SIZES[sizes], kind, rng) for name, text in program.arguments.items()}


def _draw(name: str, text: str, size: dict[str, int], kind: str, rng: np.random.Generator) -> NDArray:
    letters, _, holds = text.partition(":")
    shape = tuple(size[letter] for letter in letters.split())
    if holds == "mask":
        # each row keeps its first entry, as a causal mask does, so that no softmax is over nothing
        return np.ones(shape, bool) if kind == "start" else (rng.random(shape) < 0.6) | (np.arange(shape[-1]) == 0)
    if holds:
        return rng.integers(size[holds], size=shape)
    array = KINDS[kind](name, shape, rng)
    return np.abs(array) + 0.1 * (kind != "start") if name in POSITIVE else array


def _start(name: str, shape: tuple, rng: np.random.Generator) -> NDArray:
    """Weights as a network has them before it is trained."""
    return np.full(shape, WEIGHTS[name]) if name in WEIGHTS else rng.normal(size=shape)


def _identity(name: str, shape: tuple, rng: np.random.Generator) -> NDArray:
    return np.eye(*shape) if len(shape) == 2 and name not in "xqz" else rng.normal(size=shape)


def _integers(name: str, shape: tuple, rng: np.random.Generator) -> NDArray:
    return rng.integers(-2, 3, size=shape).astype(float)


def _arange(name: str, shape: tuple, rng: np.random.Generator) -> NDArray:
    return np.arange(1.0, 1 + np.prod(shape)).reshape(shape) / 4


KINDS: dict[str, Callable[[str, tuple, np.random.Generator], NDArray]] = {
    "normal": lambda name, shape, rng: rng.normal(size=shape),
    "start": _start,
    "identity": _identity,
    "integers": _integers,
    "arange": _arange,
    "ones": lambda name, shape, rng: np.ones(shape),
    "zeros": lambda name, shape, rng: np.zeros(shape),
    "saturated": lambda name, shape, rng: 12 * rng.normal(size=shape),
    "small": lambda name, shape, rng: 1e-3 * rng.normal(size=shape),
}


@functools.cache
def _differentiated(program: Program) -> Callable:
    names = program.floats()

    @jax.jit
    def both(point: dict[str, Any], dout: Any) -> Any:
        rest = {n: a for n, a in point.items() if n not in names}
        out, back = jax.vjp(lambda given: program.forward(**given, **rest), {n: point[n] for n in names})
        return out, back(dout)[0]

    return both


def true_lines(program: Program, point: dict[str, Any], dout: Any) -> dict[str, NDArray]:
    """Return the derivative of <dout, output> by autodiff, in float64."""
    return {n: np.asarray(line) for n, line in _differentiated(program)(point, dout)[1].items()}


def output_of(program: Program, point: dict[str, Any]) -> NDArray:
    return np.asarray(_compiled(program)(point))


@functools.cache
def _compiled(program: Program) -> Callable:
    return jax.jit(lambda point: program.forward(**point))


def cost_of_output(out: Any) -> Any:
    """Return a loss as it is, and the mean square of other outputs around 0.5."""
    return jnp.mean((out - 0.5) ** 2) if jnp.ndim(out) else out


def cotangent_of_cost(out: Any) -> Any:
    return 2 * (out - 0.5) / out.size if out.ndim else 1.0 + 0 * out
