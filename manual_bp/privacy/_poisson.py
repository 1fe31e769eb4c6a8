"""Batches in which every example is equally likely and independent of the others, as the accounting assumes."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Integer

from manual_bp import _numbers as numbers

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


def poisson_sample(key: Array, examples: int, rate: float, size: int | None = None) -> Batch:
    """A batch that holds each of the examples with probability `rate`, independently.

    That is the sampling whose amplification `bp.privacy.epsilon` counts on; shuffled batches of a fixed size are
    another matter. The number drawn varies about rate * examples, and the batch is padded to `size`:

        indices, present = bp.privacy.poisson_sample(key, m, rate)
        bp.private_value_and_grad(...)(params, X[:, indices], Y[indices], noise_key, present)

    Args:
        key: of `jax.random.key`, a new one for each step.
        examples: how many there are, 1 or more.
        rate: the probability of each, above 0 and at most 1.
        size: room for so many. Unless given, Bernstein's inequality makes it so large that the draw exceeds it with
            probability 1e-12 or less; what does not fit is left out, which over T steps adds at most
            T (1 + e^epsilon) 1e-12 to delta.

    Raises:
        ValueError, TypeError: a number out of its range.
    """
    examples, rate = numbers.count("examples", examples), numbers.probability("rate", rate)
    size = _size(examples, rate) if size is None else numbers.count("size", size)
    return _sample(key, examples, rate, min(size, examples))


@functools.partial(jax.jit, static_argnames=("examples", "size"))
def _sample(key: Array, examples: int, rate: float, size: int) -> Batch:
    drawn = jax.random.bernoulli(key, rate, (examples,))
    indices = jnp.nonzero(drawn, size=size, fill_value=0)[0]
    return Batch(indices, jnp.arange(size) < jnp.sum(drawn))


def _size(examples: int, rate: float) -> int:
    # P(N - E N >= t) <= exp(-t^2 / (2 (Var N + t/3))), solved for t
    log, variance = math.log(1 / OVERFLOW), examples * rate * (1 - rate)
    return math.ceil(examples * rate + log / 3 + math.sqrt(log**2 / 9 + 2 * variance * log))
