"""Batches in which every example is equally likely and independent of the others, as the accounting assumes."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Integer

from manual_bp._checks import numbers

# Of one batch being larger than the room made for it
OVERFLOW = 1e-12


class Batch(NamedTuple):
    """Examples of a batch, padded to a size that compiled code can rely on.

    Attributes:
        indices: of the examples drawn, and 0 in the padding, shape (size,).
        present: False in the padding, shape (size,).
    """

    indices: Integer[Array, " size"]
    present: Bool[Array, " size"]


def poisson_sample(key: Array, examples: int, rate: float) -> Batch:
    """A batch that holds each of the examples with probability `rate`, independently.

    That is the sampling whose amplification `bp.privacy.epsilon` counts on; shuffled batches of a fixed size are
    another matter. The number drawn varies about rate * examples, and the batch is padded:

        indices, present = bp.privacy.poisson_sample(sample_key, m, rate)
        private(params, X[:, indices], Y[..., indices], noise_key, present)

    By Bernstein's inequality the padded size is so large that a draw exceeds it with probability 1e-12 or less; what
    does not fit is left out, which over T steps adds at most T (1 + e^epsilon) 1e-12 to delta. The rate is rounded down
    to a multiple of 2^-32.

    Args:
        key: of `jax.random.key`, a new one for each step.
        examples: how many there are, 1 or more.
        rate: the probability of each, above 0 and at most 1.

    Raises:
        ValueError, TypeError: a number out of its range.
    """
    numbers.key(key)
    examples = numbers.count("examples", examples)
    rate = numbers.known("rate", numbers.probability("rate", rate))
    return _sample(key, examples, rate, min(_size(examples, rate), examples))


@functools.partial(jax.jit, static_argnames=("examples", "rate", "size"))
def _sample(key: Array, examples: int, rate: float, size: int) -> Batch:
    # Bits and not a uniform float, whose 23 bits round a small rate up
    bits = jax.random.bits(key, (examples,), jnp.uint32)
    drawn = bits < jnp.uint32(rate * 2**32) if rate < 1 else jnp.ones(examples, bool)
    indices = jnp.nonzero(drawn, size=size, fill_value=0)[0]
    return Batch(indices, jnp.arange(size) < jnp.sum(drawn))


def _size(examples: int, rate: float) -> int:
    # P(N - E N >= t) <= exp(-t^2 / (2 (Var N + t/3))), solved for t
    log, variance = math.log(1 / OVERFLOW), examples * rate * (1 - rate)
    return math.ceil(examples * rate + log / 3 + math.sqrt(log**2 / 9 + 2 * variance * log))
