"""The gradient with noise that hides any one example."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from manual_bp._checks import arguments, numbers
from manual_bp._network import Network, Params
from manual_bp._quantities.clipping import clip_factors
from manual_bp._quantities.per_example import per_example_norms
from manual_bp._record import backpropagate, sum_over_examples


class PrivateGradient(NamedTuple):
    """What a private step returns.

    Attributes:
        cost_not_private: the mean loss of the batch, for whoever may see the data: no noise protects it.
        gradient: the noisy mean of the clipped gradients, a tuple of layers like the parameters.
    """

    cost_not_private: Float[Array, ""]
    gradient: Params


def private_value_and_grad(
    network: Network, max_norm: float | Sequence[float], noise_multiplier: float, expected_batch_size: float
) -> Callable[..., PrivateGradient]:
    """The function (params, X, Y, key, present=None) -> (cost_not_private, gradient) of DP-SGD, compiled.

    (sum_j min(1, C/|g_j|) g_j + n) / B, where n is normal noise of standard deviation noise_multiplier * C in every
    element, and B the expected batch size: a constant, whatever the number of examples in the batch. Adding or
    removing an example moves the sum by C at most, up to float32 rounding. One backward pass, no example's gradient
    written out.

    An example whose gradient, or its norm, is not finite adds nothing, so that the bound holds for it too. The noise is
    that of `jax.random`, in floating point: no cryptographic generator, and open to attacks on its last bits (Mironov,
    On significance of the least significant bits for differential privacy, 2012). Who knows the key can subtract it.

    Abadi et al., Deep learning with differential privacy (2016), arXiv:1607.00133.

    Args:
        network: the description.
        max_norm: C, above 0; or C[1], ..., C[L], one for each layer, whose parameters are then clipped apart: C is
            then (sum_l C[l]^2)^(1/2).
        noise_multiplier: 0 or above; `bp.privacy.noise_multiplier` gives the one for a budget.
        expected_batch_size: B, above 0: the number of examples times the probability of each.

    The function's arguments: those of `bp.value_and_grad`, params in float32 or float64; a key of `jax.random.key`, a
    new one for each step; and present, of booleans, shape (m,), False for an example that pads the batch.

    Raises:
        ValueError, TypeError: an option that is not a number in its range; arguments that do not fit.
    """
    arguments.check_network(network)
    bounds = numbers.max_norm(max_norm, len(network.activations))
    numbers.non_negative("noise_multiplier", noise_multiplier)
    numbers.positive("expected_batch_size", expected_batch_size)
    # As Python floats, which are hashable and do not widen a float32 gradient
    return _private_value_and_grad(
        network,
        tuple(numbers.known("max_norm", C) for C in bounds)
        if isinstance(bounds, tuple)
        else numbers.known("max_norm", bounds),
        numbers.known("noise_multiplier", noise_multiplier),
        numbers.known("expected_batch_size", expected_batch_size),
    )


@functools.lru_cache(maxsize=1024)
def _private_value_and_grad(
    network: Network, max_norm: float | tuple[float, ...], noise_multiplier: float, expected_batch_size: float
) -> Callable[..., PrivateGradient]:
    sensitivity = math.hypot(*max_norm) if isinstance(max_norm, tuple) else max_norm

    @jax.jit
    def private_value_and_grad(
        params: Params, X: Array, Y: Array, key: Array, present: Bool[Array, " m"] | None = None
    ) -> PrivateGradient:
        weights = _weights(X, key, present)
        record = backpropagate(network, params, X, Y, weights)
        if record.cost.dtype == jnp.bfloat16:
            # rounding a sum to 8 bits could move it by more than the clipping norm
            raise TypeError("params has dtype bfloat16; expected float32 or float64, in which the bound holds")
        finite = jnp.isfinite(per_example_norms(record))
        bounded = dataclasses.replace(record, weights=(finite & (record.weights[0] != 0))[None, :].astype(X.dtype))
        # in TF32 a contribution could be larger than its norm, which is of float32 numbers
        with jax.default_matmul_precision("highest"):
            clipped = sum_over_examples(bounded, record.A, record.dZ, clip_factors(record, max_norm))
        noise = optax.tree.random_like(key, clipped, jax.random.normal)
        std = noise_multiplier * sensitivity
        gradient = jax.tree.map(lambda d, n: (d + std * n) / expected_batch_size, clipped, noise)
        return PrivateGradient(record.cost, gradient)

    return private_value_and_grad


def _weights(X: Array, key: Array, present: Array | None) -> Array | None:
    """1 for the examples that are present and 0 for the others, after checks of what `bp.cost` has no use for."""
    numbers.key(key)
    if present is None:
        return None
    m = X.shape[-1]
    if getattr(present, "dtype", None) != jnp.bool or present.shape != (m,):
        came = f"{present.dtype}, shape {present.shape}" if hasattr(present, "dtype") else type(present).__name__
        raise TypeError(
            f"present is {came}; expected booleans, shape ({m},): weights other than 0 and 1 have no place in the "
            "privacy accounting"
        )
    return present.astype(jnp.float32)
