"""The Hessian of each example's loss with respect to the output, from which all curvature is computed.

The output is Z[L] if the cost is collapsed with the output activation, and A[L] otherwise.
"""

from collections.abc import Callable

from jaxtyping import Array, Float

from manual_bp import _equations as equations
from manual_bp import _output as output
from manual_bp._activations import activation_backward
from manual_bp._checks import functions
from manual_bp._record import Record


def loss_hessian(record: Record) -> Callable[[Array], Array]:
    """The function V -> H V, column by column, shape (n_L, m).

    For the library's costs H is positive semidefinite, if the targets of a categorical cross-entropy sum to 0 or more.
    """
    matched = record.network.cost.matched
    hessian = functions.loss_hessian(record.network, len(record.losses), record.cost.dtype)
    Z_L, A_L, Y = output.output_in_float32(record.A, record.Z, record.Y)

    def product(V: Array) -> Array:
        wide = V.astype(Z_L.dtype)
        HV = hessian(Z_L, A_L, Y, wide) if matched else hessian(A_L, Y, wide)
        return HV.astype(V.dtype)

    return product


def back_from_output(record: Record, d: Float[Array, "n m"]) -> list:
    """dZ[0..L] of a function whose derivative with respect to the output is `d`; dZ[0] is None."""
    network, A, Z = record.network, record.A, record.Z
    dZ_L = d if network.cost.matched else activation_backward(network.output, d, Z[-1], A[-1])
    return equations.backward(network.activations, record.params, A, Z, dZ_L)[1]
