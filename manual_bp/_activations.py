"""Activations: g and its derivatives g' and g'', side by side.

An activation gives the forward line A = g(Z), the backward line dZ = dA * g'(Z), and with g'' the line of a product
with the Hessian. A derivative is written in A = g(Z) where that is exact, so that Z need not be kept, and otherwise in
Z or A, whichever is cheaper. At a corner of g the convention is that of `jax.nn`: relu'(0) = 0,
leaky_relu'(0) = elu'(0) = 1, elu''(0) = 1.
"""

import dataclasses
import inspect
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from manual_bp._machine.products import kept


@dataclasses.dataclass(frozen=True)
class Activation:
    """An activation function and its derivatives.

    Pass functions defined at module level, so that equal activations compare equal, hash and pickle.

    Args:
        g: the function A = g(Z), element by element, for any shape.
        g_prime: the derivative g'(Z) as a function of (Z, A) with A = g(Z); None for the softmax alone, whose outputs
            depend on one another.
        init: the variance of the weights that feed it, "he" (2/n_in) or "glorot" (2/(n_in + n_out)).
        g_second: the second derivative g''(Z) as a function of (Z, A). Only `bp.hessian_product` needs it, and says so
            if it is missing.

    Raises:
        TypeError: a function that cannot be called with these arguments, or is NumPy's.
        ValueError: an unknown init.

    Example:
        >>> def sine(Z):
        ...     return jnp.sin(Z)
        >>> def sine_prime(Z, A):
        ...     return jnp.cos(Z)
        >>> bp.Network((2, 3, 1), bp.Activation(sine, sine_prime), "sigmoid").hidden
        (sine,)
    """

    g: Callable[[Array], Array]
    g_prime: Callable[[Array, Array], Array] | None
    init: str = "glorot"
    g_second: Callable[[Array, Array], Array] | None = None

    def __post_init__(self) -> None:
        check_function("g of the activation", self.g, "Z")
        if self.g_prime is None and self.g is not softmax:
            raise TypeError(f"g_prime of activation {self} is None; expected the function g'(Z), of (Z, A)")
        for name in ("g_prime", "g_second"):
            if getattr(self, name) is not None:
                check_function(f"{name} of activation {self}", getattr(self, name), "Z, A")
        if self.init not in ("he", "glorot"):
            raise ValueError(f"init of activation {self} is {self.init!r}; expected 'he' or 'glorot'")

    def __call__(self, Z: Array) -> Array:
        """Return A = g(Z), marked to be kept for the backward pass (softmax excepted)."""
        return self.g(Z) if self.g_prime is None else kept(self.g(Z))

    def __repr__(self) -> str:
        return getattr(self.g, "__name__", repr(self.g))


def check_function(name: str, function: Any, arguments: str) -> None:
    """Refuse anything but a function of JAX arrays with these arguments."""
    if isinstance(function, np.ufunc):
        raise TypeError(
            f"{name} is NumPy's {function.__name__}; expected a function of JAX arrays, such as jnp.{function.__name__}"
        )
    if not callable(function):
        raise TypeError(f"{name} is {function!r}; expected a function of ({arguments})")
    try:
        inspect.signature(function).bind(*arguments.split(", "))
    except TypeError as error:
        raise TypeError(f"{name} is a function that cannot take ({arguments}): {error}") from None
    except ValueError:  # it has no signature to look at
        pass


def takes_Z(activation: Activation) -> bool:
    """Whether g' is computed from Z, and not from A alone."""
    if activation.g_prime is None:
        return False
    of_one = jax.ShapeDtypeStruct((1, 1), jnp.float32)
    jaxpr = jax.make_jaxpr(activation.g_prime)(of_one, of_one).jaxpr
    Z, _ = jaxpr.invars
    return any(Z is x for equation in jaxpr.eqns for x in equation.invars)


def activation_backward(
    activation: Activation, dA: Float[Array, "n m"], Z: Float[Array, "n m"], A: Float[Array, "n m"]
) -> Float[Array, "n m"]:
    """Return dZ = dA * g'(Z); for the softmax dZ = A * (dA - sum over outputs of A * dA)."""
    if activation.g_prime is None:
        # dA_j/dZ_i = A_j (delta_ij - A_i), summed over j
        return A * (dA - jnp.sum(A * dA, axis=0, keepdims=True))
    return dA * activation.g_prime(Z, A)


def identity(Z: Array) -> Array:
    return Z


def identity_prime(Z: Array, A: Array) -> Array:
    return jnp.ones_like(Z)


def zero_second(Z: Array, A: Array) -> Array:
    """g'' = 0 for a piecewise-linear g; the term is skipped."""
    return jnp.zeros_like(Z)


def sigmoid(Z: Array) -> Array:
    return jax.nn.sigmoid(Z)


def sigmoid_prime(Z: Array, A: Array) -> Array:
    return A * (1 - A)


def sigmoid_second(Z: Array, A: Array) -> Array:
    return A * (1 - A) * (1 - 2 * A)


def tanh(Z: Array) -> Array:
    return jnp.tanh(Z)


def tanh_prime(Z: Array, A: Array) -> Array:
    # 1 - A^2, factored: 1 - A is exact where A is near 1
    return (1 - A) * (1 + A)


def tanh_second(Z: Array, A: Array) -> Array:
    return -2 * A * (1 - A) * (1 + A)


def relu(Z: Array) -> Array:
    return jax.nn.relu(Z)


def relu_prime(Z: Array, A: Array) -> Array:
    return (A > 0).astype(A.dtype)


def leaky_relu(Z: Array) -> Array:
    return jnp.where(Z >= 0, Z, 0.01 * Z)


def leaky_relu_prime(Z: Array, A: Array) -> Array:
    return jnp.where(A >= 0, 1, 0.01).astype(A.dtype)


def elu(Z: Array) -> Array:
    # expm1 of the negative part alone: the branch not taken must not overflow
    return jnp.where(Z > 0, Z, jnp.expm1(jnp.where(Z > 0, 0, Z)))


def elu_prime(Z: Array, A: Array) -> Array:
    return jnp.exp(jnp.minimum(Z, 0))


def elu_second(Z: Array, A: Array) -> Array:
    return jnp.where(Z > 0, 0, jnp.exp(jnp.minimum(Z, 0)))


def softplus(Z: Array) -> Array:
    return jnp.logaddexp(Z, 0)


def softplus_prime(Z: Array, A: Array) -> Array:
    # 1 - exp(-A) = 1 - 1 / (1 + exp(Z))
    return -jnp.expm1(-A)


def softplus_second(Z: Array, A: Array) -> Array:
    return jax.nn.sigmoid(Z) * jax.nn.sigmoid(-Z)


def silu(Z: Array) -> Array:
    return Z * jax.nn.sigmoid(Z)


def silu_prime(Z: Array, A: Array) -> Array:
    # (Z s)' = s + Z s(1 - s), with A = Z s
    s = jax.nn.sigmoid(Z)
    return s + A * (1 - s)


def silu_second(Z: Array, A: Array) -> Array:
    # s' (2 + Z (1 - 2s)), with s' = s (1 - s)
    s = jax.nn.sigmoid(Z)
    return s * (1 - s) * (2 + Z * (1 - 2 * s))


def gelu(Z: Array) -> Array:
    """The tanh form, Z/2 (1 + tanh u) with u = sqrt(2/pi) (Z + 0.044715 Z^3)."""
    return 0.5 * Z * (1 + jnp.tanh(_gelu_u(Z)))


def gelu_prime(Z: Array, A: Array) -> Array:
    # (1 + t)/2 + Z/2 (1 - t^2) u', with t = tanh u
    t = jnp.tanh(_gelu_u(Z))
    return 0.5 * (1 + t) + 0.5 * Z * (1 - t) * (1 + t) * _gelu_u_prime(Z)


def gelu_second(Z: Array, A: Array) -> Array:
    # (1 - t^2) (u' + Z/2 (u'' - 2 t u'^2))
    t, u_prime = jnp.tanh(_gelu_u(Z)), _gelu_u_prime(Z)
    u_second = math.sqrt(2 / math.pi) * 6 * 0.044715 * Z
    return (1 - t) * (1 + t) * (u_prime + 0.5 * Z * (u_second - 2 * t * u_prime**2))


def _gelu_u(Z: Array) -> Array:
    return math.sqrt(2 / math.pi) * (Z + 0.044715 * Z**3)


def _gelu_u_prime(Z: Array) -> Array:
    return math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * Z**2)


def softmax(Z: Array) -> Array:
    """Columns that sum to 1: exp(Z) over its sum over the outputs."""
    return jax.nn.softmax(Z, axis=0)


SOFTMAX = Activation(softmax, None)
SIGMOID = Activation(sigmoid, sigmoid_prime, "glorot", sigmoid_second)

ACTIVATIONS = {
    "identity": Activation(identity, identity_prime, "glorot", zero_second),
    "sigmoid": SIGMOID,
    "tanh": Activation(tanh, tanh_prime, "glorot", tanh_second),
    "relu": Activation(relu, relu_prime, "he", zero_second),
    "leaky_relu": Activation(leaky_relu, leaky_relu_prime, "he", zero_second),
    "elu": Activation(elu, elu_prime, "he", elu_second),
    "softplus": Activation(softplus, softplus_prime, "he", softplus_second),
    "silu": Activation(silu, silu_prime, "he", silu_second),
    "gelu": Activation(gelu, gelu_prime, "he", gelu_second),
    "softmax": SOFTMAX,
}
