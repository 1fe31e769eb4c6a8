"""The gradient with noise that hides every single example."""

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
from manual_bp._jit import jit
from manual_bp._kind import a_kind
from manual_bp._network import Network, Params
from manual_bp._quantities.clipping import clip_factors
from manual_bp._quantities.per_example import per_example_norms
from manual_bp._record import backpropagate, sum_over_examples


class PrivateGradient(NamedTuple):
    """The result of a private step.

    Attributes:
        cost_not_private: the mean loss of the batch. No noise protects it, so show it only to those who may see the
            data.
        gradient: the noisy mean of the clipped gradients, a tuple of layers like the parameters.

    Example:
        >>> private = bp.private_value_and_grad(bp.Network((2, 3, 4)), 1.0, 1.1, expected_batch_size=5)
        >>> params = bp.init(bp.Network((2, 3, 4)), jax.random.key(0))
        >>> result = private(params, jnp.ones((2, 5)), jnp.arange(5) % 4, jax.random.key(1))
        >>> result.gradient[0].W.shape
        (3, 2)
    """

    cost_not_private: Float[Array, ""]
    gradient: Params


def private_value_and_grad(
    network: Network, max_norm: float | Sequence[float], noise_multiplier: float, expected_batch_size: float
) -> Callable[..., PrivateGradient]:
    """Make the compiled function (params, X, Y, key, present=None) -> (cost_not_private, gradient) of DP-SGD.

    The gradient is (sum_j min(1, C/|g_j|) g_j + n) / B, where every element of n is normal noise of standard deviation
    noise_multiplier * C. B, the expected batch size, is a constant, whatever the number of examples in the batch.
    Adding or removing an example moves the sum by at most C, up to float32 rounding. The function needs one backward
    pass and stores no example's gradient.

    An example whose gradient or norm is not finite adds nothing, so the bound holds for it too. The noise comes from
    `jax.random`, which is not a cryptographic generator. It is in floating point, so its last bits can be attacked
    (Mironov, On significance of the least significant bits for differential privacy, 2012). Anyone who knows the key
    can subtract the noise.

    Abadi et al., Deep learning with differential privacy (2016), arXiv:1607.00133.

    Args:
        network: the description.
        max_norm: the bound C, above 0; or C[1], ..., C[L], one for each layer. The layers are then clipped separately,
            and C is (sum_l C[l]^2)^(1/2).
        noise_multiplier: a number, 0 or above; `bp.privacy.noise_multiplier` computes it from a privacy budget.
        expected_batch_size: B, above 0: the number of examples times the probability of each.

    Returns:
        The function. It takes `params` in float32 or float64, X and Y as `bp.value_and_grad` does, a new key of
        `jax.random.key` for each step, and `present`, booleans of shape (m,), False for an example that pads the batch.

    Raises:
        ValueError, TypeError: an option that is not a number in its range; on a call, arguments that do not fit.

    Example:
        >>> private = bp.private_value_and_grad(bp.Network((2, 3, 4)), 1.0, 1.1, expected_batch_size=5)
        >>> params = bp.init(bp.Network((2, 3, 4)), jax.random.key(0))
        >>> cost, grads = private(params, jnp.ones((2, 5)), jnp.arange(5) % 4, jax.random.key(1))
        >>> [dW.shape for dW, db in grads]
        [(3, 2), (4, 3)]
    """
    arguments.check_network(network)
    bounds = numbers.max_norm(max_norm, len(network.activations))
    numbers.non_negative("noise_multiplier", noise_multiplier)
    numbers.positive("expected_batch_size", expected_batch_size)
    # As Python floats, which are hashable and do not widen a float32 gradient
    given = {"max_norm": bounds, "noise_multiplier": noise_multiplier, "expected_batch_size": expected_batch_size}
    known = (jax.tree.map(functools.partial(numbers.known, name), value) for name, value in given.items())
    return _private_value_and_grad(network, *known)


@functools.lru_cache(maxsize=1024)
def _private_value_and_grad(
    network: Network, max_norm: float | tuple[float, ...], noise_multiplier: float, expected_batch_size: float
) -> Callable[..., PrivateGradient]:
    sensitivity = math.hypot(*max_norm) if isinstance(max_norm, tuple) else max_norm

    @jit
    def private_value_and_grad(
        params: Params, X: Array, Y: Array, key: Array, present: Bool[Array, " m"] | None = None
    ) -> PrivateGradient:
        weights = _weights(X, key, present)
        record = backpropagate(network, params, X, Y, weights)
        if record.cost.dtype == jnp.bfloat16:
            # Rounding a sum to 8 bits could move it by more than the clipping norm
            raise TypeError("params has dtype bfloat16; expected float32 or float64, in which the bound holds")
        finite = jnp.isfinite(per_example_norms(record))
        bounded = dataclasses.replace(record, weights=(finite & (record.weights[0] != 0))[None, :].astype(X.dtype))
        # In TF32 a contribution could exceed its norm, which is computed from float32 numbers
        with jax.default_matmul_precision("highest"):
            clipped = sum_over_examples(bounded, record.A, record.dZ, clip_factors(record, max_norm))
        noise = optax.tree.random_like(key, clipped, jax.random.normal)
        std = noise_multiplier * sensitivity
        gradient = jax.tree.map(lambda d, n: (d + std * n) / expected_batch_size, clipped, noise)
        return PrivateGradient(record.cost, gradient)

    return private_value_and_grad


def _weights(X: Array, key: Array, present: Array | None) -> Array | None:
    """1 for an example that is present and 0 for padding, after checks of what `bp.cost` does not take."""
    numbers.key(key)
    if present is None:
        return None
    m = X.shape[-1]
    if getattr(present, "dtype", None) != jnp.bool or present.shape != (m,):
        came = f"{present.dtype}, shape {present.shape}" if hasattr(present, "dtype") else a_kind(present)
        raise TypeError(
            f"present is {came}; expected booleans, shape ({m},): the privacy accounting does not cover weights other "
            "than 0 and 1"
        )
    return present.astype(jnp.float32)
