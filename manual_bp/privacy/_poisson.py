"""Batches that hold each example with equal probability, independently of the others, as the accounting assumes."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Integer

from manual_bp._checks import numbers

# The probability that a batch is larger than the size that it is padded to
OVERFLOW = 1e-12


class Batch(NamedTuple):
    """The examples of a batch, padded to a fixed size for compiled code.

    Attributes:
        indices: the indices of the examples drawn, and 0 in the padding, shape (size,).
        present: True for an example and False in the padding, shape (size,).

    Example:
        >>> batch = bp.privacy.poisson_sample(jax.random.key(0), examples=50, rate=1.0)
        >>> batch.indices.shape, int(batch.present.sum())
        ((50,), 50)
    """

    indices: Integer[Array, " size"]
    present: Bool[Array, " size"]


def poisson_sample(key: Array, examples: int, rate: float) -> Batch:
    """Draw a batch that holds each of the examples with probability `rate`, independently.

    `bp.privacy.epsilon` assumes this sampling; it does not hold for shuffled batches of a fixed size. The number drawn
    varies about rate * examples, so the batch is padded. By Bernstein's inequality a draw exceeds the padded size with
    probability 1e-12 or less. Examples that do not fit are left out, which over T steps adds at most
    T (1 + e^epsilon) 1e-12 to delta. The rate is rounded down to a multiple of 2^-32.

    Args:
        key: a key of `jax.random.key`, a new one for each step.
        examples: the number of examples to draw from, 1 or more.
        rate: the probability of each example, above 0 and at most 1.

    Raises:
        ValueError, TypeError: a number out of its range, or no key.

    Example:
        >>> private = bp.private_value_and_grad(bp.Network((2, 3, 4)), 1.0, 1.1, expected_batch_size=5)
        >>> params = bp.init(bp.Network((2, 3, 4)), jax.random.key(0))
        >>> X, Y = jnp.ones((2, 50)), jnp.arange(50) % 4
        >>> indices, present = bp.privacy.poisson_sample(jax.random.key(1), examples=50, rate=0.1)
        >>> result = private(params, X[:, indices], Y[..., indices], jax.random.key(2), present)
    """
    numbers.key(key)
    examples = numbers.count("examples", examples)
    rate = numbers.known("rate", numbers.probability("rate", rate))
    return _sample(key, examples, rate, min(_size(examples, rate), examples))


@functools.partial(jax.jit, static_argnames=("examples", "rate", "size"))
def _sample(key: Array, examples: int, rate: float, size: int) -> Batch:
    # Bits instead of a uniform float, whose 23 bits would round a small rate up
    bits = jax.random.bits(key, (examples,), jnp.uint32)
    drawn = bits < jnp.uint32(rate * 2**32) if rate < 1 else jnp.ones(examples, bool)
    indices = jnp.nonzero(drawn, size=size, fill_value=0)[0]
    return Batch(indices, jnp.arange(size) < jnp.sum(drawn))


def _size(examples: int, rate: float) -> int:
    # P(N - E N >= t) <= exp(-t^2 / (2 (Var N + t/3))), solved for t
    log, variance = math.log(1 / OVERFLOW), examples * rate * (1 - rate)
    return math.ceil(examples * rate + log / 3 + math.sqrt(log**2 / 9 + 2 * variance * log))
