"""The precision in which sums over examples are held."""

import jax
import jax.numpy as jnp


def accumulator(dtype: jax.typing.DTypeLike) -> jnp.dtype:
    """The dtype of a sum over examples: float32 for a narrower one."""
    return jnp.dtype(dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32)
