"""Products of the cost's Hessian and its Gauss-Newton part with vectors shaped like the parameters."""

from manual_bp._checks import functions
from manual_bp._jit import jit
from manual_bp._network import Params
from manual_bp._quantities.loss_hessian import back_from_output, loss_hessian
from manual_bp._quantities.r_operator import r_backward, r_forward
from manual_bp._quantities.vectors import for_each_vector
from manual_bp._record import Record, sum_over_examples


@jit
def hessian_product(record: Record, V: Params) -> Params:
    """Compute H V, the product of the cost's Hessian with respect to the parameters and a vector, by the R-operator.

    RdW[l] = (RdZ[l] * w) A[l-1]^T + (dZ[l] * w) RA[l-1]^T and Rdb[l] = sum over examples of RdZ[l] * w. RA and RdZ are
    the derivatives of A and dZ as the parameters move along V. The forward values are those of the record. Its backward
    pass is run once more, with the weights at its start, for all vectors together. Pearlmutter, Fast exact
    multiplication by the Hessian (1994).

    Args:
        record: the record of `bp.backpropagate`.
        V: a vector, as a tuple of L `bp.Layer` shaped like the parameters; or k vectors stacked, each array with a
            first axis of length k.

    Returns:
        A tuple of L layers, stacked if V is.

    Raises:
        TypeError, ValueError: a V unlike the parameters, with the place; an activation without `g_second`; a cost
            without `hessian`.

    Example:
        >>> network = bp.Network((2, 3, 1), hidden="tanh", output="sigmoid")
        >>> params = bp.init(network, jax.random.key(0))
        >>> record = bp.backpropagate(network, params, jnp.ones((2, 5)), jnp.zeros((1, 5)))
        >>> HV = bp.hessian_product(record, bp.gradients(record))
        >>> [V.W.shape for V in HV]
        [(3, 2), (1, 3)]
    """
    return for_each_vector(_hessian_product, record, V)


@jit
def gauss_newton_product(record: Record, V: Params) -> Params:
    """Compute G V, with G = sum_i w_i J_i^T H_i J_i, the Gauss-Newton part of the cost's Hessian.

    J_i is the Jacobian of example i's output with respect to the parameters, and H_i the Hessian of its loss with
    respect to that output. The output is Z[L] if the cost is collapsed with the output activation, as a matched
    cross-entropy is, and A[L] otherwise; the choice affects G. The absolute error is piecewise linear, so its G is 0. G
    is positive semidefinite for the library's costs.

    The forward pass of the R-operator gives J V, and a backward pass from H J V, without terms in g'', the rest.
    Schraudolph, Fast curvature matrix-vector products for second-order gradient descent (2002); Martens, New insights
    and perspectives on the natural gradient method (2020), arXiv:1412.1193.

    Args, Returns, Raises: those of `bp.hessian_product`; no `g_second` is needed.

    Example:
        >>> network = bp.Network((2, 3, 1), output="sigmoid")
        >>> params = bp.init(network, jax.random.key(0))
        >>> record = bp.backpropagate(network, params, jnp.ones((2, 5)), jnp.zeros((1, 5)))
        >>> GV = bp.gauss_newton_product(record, bp.gradients(record))
        >>> [V.W.shape for V in GV]
        [(3, 2), (1, 3)]
    """
    return for_each_vector(_gauss_newton_product, record, V)


def _hessian_product(record: Record, V: Params) -> Params:
    functions.second_derivatives(record.network, len(record.losses), record.cost.dtype)
    RA, RZ = r_forward(record, V)
    dZ, RdZ = r_backward(record, V, RA, RZ)
    first, *rest = sum_over_examples(record, record.A, RdZ, 1.0)
    if not rest:
        return (first,)
    # RA[0] is 0, so dZ[1] RA[0]^T is skipped
    of_RA = sum_over_examples(record, RA[1:], dZ[1:], 1.0)
    return (first, *(d._replace(W=d.W + other.W) for d, other in zip(rest, of_RA, strict=True)))


def _gauss_newton_product(record: Record, V: Params) -> Params:
    RA, RZ = r_forward(record, V)
    R_output = (RZ if record.network.cost.matched else RA)[-1]
    dZ = back_from_output(record, loss_hessian(record)(R_output) * record.weights.astype(record.cost.dtype))
    return sum_over_examples(record, record.A, dZ, 1.0)
