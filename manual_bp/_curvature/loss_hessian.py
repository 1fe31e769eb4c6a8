"""The Hessian of each example's loss with respect to the network's output, where all curvature starts."""

from collections.abc import Callable

from jaxtyping import Array

from manual_bp import _equations as equations
from manual_bp import _validate as validate
from manual_bp._record import Record


def loss_hessian(record: Record) -> Callable[[Array], Array]:
    """V -> H V, column by column, shape (n_L, m).

    H is the Hessian with respect to Z[L] where the cost is collapsed with the output activation, and with respect to
    A[L] otherwise: the loss as it is defined. For the costs of this library it is positive semidefinite, if targets
    of a categorical cross-entropy sum to 0 or more.
    """
    collapsed = record.network.cost.collapsed
    hessian = validate.loss_hessian(record.network, len(record.losses), record.cost.dtype)
    Z_L, A_L, Y = equations.output_stage(record.A, record.Z, record.Y)

    def product(V: Array) -> Array:
        wide = V.astype(Z_L.dtype)
        HV = hessian(Z_L, A_L, Y, wide) if collapsed else hessian(A_L, Y, wide)
        return HV.astype(V.dtype)

    return product
