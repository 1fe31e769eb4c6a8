"""Products of the cost's Hessian, and of its Gauss-Newton part, with vectors shaped like the parameters."""

import jax

from manual_bp._checks import functions
from manual_bp._network import Params
from manual_bp._quantities.loss_hessian import back_from_output, loss_hessian
from manual_bp._quantities.r_operator import r_backward, r_forward
from manual_bp._quantities.vectors import for_each_vector
from manual_bp._record import Record, sum_over_examples


@jax.jit
def hessian_product(record: Record, V: Params) -> Params:
    """H V, with H the Hessian of the record's cost with respect to the parameters, by the R-operator.

    RdW[l] = (RdZ[l] * w) A[l-1]^T + (dZ[l] * w) RA[l-1]^T and Rdb[l] = sum over examples of RdZ[l] * w; RA and RdZ are
    the derivatives of A and dZ as the parameters move along V. The forward values are those of the record; its backward
    pass is run once more, with the weights at its start, however many vectors there are. Pearlmutter, Fast exact
    multiplication by the Hessian (1994).

    Args:
        record: of `bp.backpropagate`.
        V: a tuple of L `bp.Layer`, shaped like the parameters; or several vectors stacked, each array with one more
            axis in front, of the same length in all.

    Returns:
        As V: a tuple of layers, stacked if V is.

    Raises:
        TypeError, ValueError: V is not like the parameters, saying where; an activation without `g_second`, or a cost
            without `hessian`.
    """
    return for_each_vector(_hessian_product, record, V)


@jax.jit
def gauss_newton_product(record: Record, V: Params) -> Params:
    """G V, with G = sum_i w_i J_i^T H_i J_i, the Gauss-Newton part of the cost's Hessian.

    J_i is the Jacobian of example i's output with respect to the parameters, and H_i the Hessian of its loss with
    respect to that output: Z[L] where the cost is collapsed with the output activation, as a matched cross-entropy is,
    A[L] otherwise, which for one and the same loss gives another G. The absolute error is straight: its G is 0. The
    forward line of the R-operator gives J V, and the backward pass from H J V the rest, without terms in g''. G is
    positive semidefinite for the library's costs. Schraudolph, Fast curvature matrix-vector products for second-order
    gradient descent (2002); Martens, New insights and perspectives on the natural gradient method (2020),
    arXiv:1412.1193.

    Args, Returns: (record, V) -> like V, those of `bp.hessian_product`.

    Raises:
        TypeError, ValueError: V is not like the parameters, saying where; a cost without `hessian`.
    """
    return for_each_vector(_gauss_newton_product, record, V)


def _hessian_product(record: Record, V: Params) -> Params:
    functions.second_derivatives(record.network, len(record.losses), record.cost.dtype)
    RA, RZ = r_forward(record, V)
    dZ, RdZ = r_backward(record, V, RA, RZ)
    first, *rest = sum_over_examples(record, record.A, RdZ, 1.0)
    if not rest:
        return (first,)
    # dZ[1] RA[0]^T is left out: RA[0] is 0
    of_RA = sum_over_examples(record, RA[1:], dZ[1:], 1.0)
    return (first, *(d._replace(W=d.W + other.W) for d, other in zip(rest, of_RA, strict=True)))


def _gauss_newton_product(record: Record, V: Params) -> Params:
    RA, RZ = r_forward(record, V)
    R_output = (RZ if record.network.cost.collapsed else RA)[-1]
    dZ = back_from_output(record, loss_hessian(record)(R_output) * record.weights.astype(record.cost.dtype))
    return sum_over_examples(record, record.A, dZ, 1.0)
