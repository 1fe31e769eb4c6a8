"""Checks of the functions that activations and costs consist of, by the shapes and dtypes that they return."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from manual_bp._costs import Cost
from manual_bp._kind import a_kind
from manual_bp._machine.precision import accumulator
from manual_bp._network import Network


def activations_and_cost(network: Network, m: int, dtype: jnp.dtype) -> None:
    """Check the functions of a forward and a backward pass; a user may have written them."""
    for l, g in enumerate(network.activations, start=1):
        Z = jax.ShapeDtypeStruct((network.sizes[l], m), dtype)
        _returns(f"activation {g} of layer {l}: g(Z)", g.g, (Z,), Z.shape, dtype)
        if g.g_prime is not None:
            _returns(f"activation {g} of layer {l}: g_prime(Z, A)", g.g_prime, (Z, Z), Z.shape, dtype)
    A = _output_like(network, m, dtype)
    _returns(f"cost {network.cost}: loss(A, Y)", network.cost.loss, (A, A), (m,), A.dtype)
    _returns(f"cost {network.cost}: dA(A, Y)", network.cost.dA, (A, A), A.shape, A.dtype)
    if pair := network.cost.matched:
        _returns(f"cost {network.cost}: matched.loss(Z, Y)", pair.loss, (A, A), (m,), A.dtype)
        _returns(f"cost {network.cost}: matched.dZ(Z, A, Y)", pair.dZ, (A, A, A), A.shape, A.dtype)


def loss_hessian(network: Network, m: int, dtype: jnp.dtype) -> Callable[..., Array]:
    """The product with the Hessian of the loss, in the collapsed form where there is one."""
    A = _output_like(network, m, dtype)
    return _of_cost(network.cost, "hessian", "V", (A, A, A), A.shape)


def loss_hessian_root(network: Network, m: int, dtype: jnp.dtype) -> Callable[..., Array]:
    """The root of the Hessian of the loss, in the collapsed form where there is one."""
    A = _output_like(network, m, dtype)
    return _of_cost(network.cost, "hessian_root", "", (A, A), (network.sizes[-1], *A.shape))


def second_derivatives(network: Network, m: int, dtype: jnp.dtype) -> None:
    """Check that every activation has the g'' that a Hessian needs; the softmax has it built in."""
    for l, g in enumerate(network.activations, start=1):
        # an output that is collapsed with the cost is differentiated together with it
        if g.g_prime is None or (l == len(network.activations) and network.cost.matched):
            continue
        if g.g_second is None:
            raise TypeError(
                f"the Hessian was asked for, and activation {g} of layer {l} has no g_second; pass one to bp.Activation"
            )
        Z = jax.ShapeDtypeStruct((network.sizes[l], m), dtype)
        _returns(f"activation {g} of layer {l}: g_second(Z, A)", g.g_second, (Z, Z), Z.shape, dtype)


def _of_cost(cost: Cost, name: str, last: str, args: tuple, shape: tuple[int, ...]) -> Callable[..., Array]:
    """A function that a cost may lack, of (A, Y, last), or of (Z, A, Y, last) where it is collapsed."""
    function = getattr(cost.matched or cost, name)
    if function is None:
        of = "bp.MatchedLoss" if cost.matched else "bp.Cost"
        raise TypeError(f"the curvature was asked for, and cost {cost} has no {name}; pass one to {of}")
    if cost.matched:
        args = (*args, args[0])
    names = ", ".join(n for n in ("Z" if cost.matched else "", "A", "Y", last) if n)
    _returns(f"cost {cost}: {name}({names})", function, args, shape, args[0].dtype)
    return function


def _output_like(network: Network, m: int, dtype: jnp.dtype) -> jax.ShapeDtypeStruct:
    """The shape of A[L], in float32 at least, as the output computes."""
    return jax.ShapeDtypeStruct((network.sizes[-1], m), accumulator(dtype))


def _returns(name: str, function: Callable, args: tuple, shape: tuple[int, ...], dtype: jnp.dtype) -> None:
    out = jax.eval_shape(function, *args)
    if getattr(out, "shape", None) != shape or out.dtype != dtype:
        came = f"shape {out.shape} and dtype {out.dtype}" if hasattr(out, "shape") else a_kind(out)
        raise ValueError(
            f"{name} returns {came}; expected shape {shape} and dtype {dtype} for arguments of shape {args[0].shape}"
        )
