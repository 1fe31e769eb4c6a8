"""The R-operator: the change of every intermediate as the parameters move along a direction V = (RW, Rb).

R{f}, written Rf, is the derivative of f(params + r V) with respect to r at 0. The product rule, applied to each
equation, gives the equations of a product with the Hessian, from the same A, Z, dA and dZ:

    forward    RZ[l] = W[l] RA[l-1] + RW[l] A[l-1] + Rb[l]         RA[l] = g[l]'(Z[l]) * RZ[l],  RA[0] = 0
    backward   RdZ[L] = H RZ[L]                                    H: the Hessian of each loss
               RdA[l-1] = W[l]^T RdZ[l] + RW[l]^T dZ[l]
               RdZ[l] = g[l]'(Z[l]) * RdA[l] + g[l]''(Z[l]) * RZ[l] * dA[l]
               RdW[l] = RdZ[l] A[l-1]^T + dZ[l] RA[l-1]^T          Rdb[l] = sum over examples of RdZ[l]

Pearlmutter, Fast exact multiplication by the Hessian (1994); Bishop, Pattern Recognition and Machine Learning (2006),
sec. 5.4.6.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from manual_bp._activations import Activation, activation_backward, zero_second
from manual_bp._equations import NONE, backward, from_one
from manual_bp._machine.products import back_through_weights, weighted_input
from manual_bp._network import Params
from manual_bp._output import output_derivatives, without_absent
from manual_bp._quantities.loss_hessian import loss_hessian
from manual_bp._record import Record

Columns = Float[Array, "n m"]


def r_forward(record: Record, V: Params) -> tuple[list, list]:
    """The lists RA[0..L] and RZ[0..L]; RZ[0] is None."""
    A, Z, L = record.A, record.Z, len(record.params)
    W, _, g = from_one(record.params, record.network.activations)
    RW, Rb, _ = from_one(V, ())
    RA, RZ = [jnp.zeros_like(A[0])], [NONE]
    for l in range(1, L + 1):
        RZ.append(weighted_input(RW[l], A[l - 1]) + Rb[l])
        if l > 1:
            RZ[l] += weighted_input(W[l], RA[l - 1])
        # The Jacobian of g is symmetric, that of the softmax included
        RA.append(activation_backward(g[l], RZ[l], Z[l], A[l]))
    return RA, RZ


def r_backward(record: Record, V: Params, RA: list, RZ: list) -> tuple[list, list]:
    """The lists dZ[0..L] and RdZ[0..L], both multiplied by w; entry 0 is None."""
    network, params, A, Z, w = record.network, record.params, record.A, record.Z, record.weights
    L, activations = len(params), without_absent(network.activations, w != 0)
    W, _, g = from_one(params, network.activations)
    RW, _, _ = from_one(V, ())
    # Both passes are linear in their start, so w enters there. To multiply the record's dZ in every layer costs more
    dA_L, dZ_L = output_derivatives(network, A, Z, record.Y, w, w != 0)
    dA, dZ = backward(activations, params, A, Z, dZ_L)
    dA.append(dA_L)
    w, RdZ = w.astype(Z[L].dtype), [NONE] * (L + 1)
    if network.cost.matched:
        RdZ[L] = loss_hessian(record)(RZ[L]) * w
    else:
        RdA_L = loss_hessian(record)(RA[L]) * w
        RdZ[L] = r_activation_backward(g[L], dA[L], Z[L], A[L], RdA_L, RZ[L], RA[L])
    for l in range(L, 1, -1):
        RdA = back_through_weights(W[l], RdZ[l], A[l - 1]) + back_through_weights(RW[l], dZ[l], A[l - 1])
        RdZ[l - 1] = r_activation_backward(g[l - 1], dA[l - 1], Z[l - 1], A[l - 1], RdA, RZ[l - 1], RA[l - 1])
    return dZ, RdZ


def r_activation_backward(
    g: Activation, dA: Columns, Z: Columns, A: Columns, RdA: Columns, RZ: Columns, RA: Columns
) -> Columns:
    """RdZ for dZ = dA * g'(Z), or for the softmax, where dZ = A * (dA - sum over outputs of A * dA)."""
    if g.g_prime is None:
        s, Rs = (jnp.sum(x, axis=0, keepdims=True) for x in (A * dA, RA * dA + A * RdA))
        return RA * (dA - s) + A * (RdA - Rs)
    assert g.g_second is not None
    RdZ = RdA * g.g_prime(Z, A)
    # XLA would compute a product with 0, and all that it depends on
    return RdZ if g.g_second is zero_second else RdZ + dA * g.g_second(Z, A) * RZ
