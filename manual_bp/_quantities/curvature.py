"""The cost's Hessian and its Gauss-Newton part: products with vectors shaped like the parameters, and the diagonal."""

import functools
from collections.abc import Callable
from typing import TypeVar, cast

import jax
import jax.numpy as jnp

from manual_bp._checks import functions
from manual_bp._equations import NONE
from manual_bp._jit import jit
from manual_bp._kind import a_kind
from manual_bp._network import Layer, Params
from manual_bp._quantities.loss_hessian import back_from_output, loss_hessian, sum_over_roots
from manual_bp._quantities.r_operator import r_backward, r_forward
from manual_bp._quantities.reduction import Reduction, reduce
from manual_bp._record import Record, check_record, sum_over_examples

F = TypeVar("F", bound=Callable[[Record, Params], Params])


def for_each_vector(product: F) -> F:
    """Extend the product with one vector to stacked vectors. They are checked, and get the dtype of the parameters."""

    @functools.wraps(product)
    def of_each(record: Record, V: Params) -> Params:
        check_record(record)
        V, stacked = _checked(record.params, V)
        return jax.vmap(product, in_axes=(None, 0))(record, V) if stacked else product(record, V)

    return cast(F, of_each)


@jit
@for_each_vector
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
    functions.second_derivatives(record.network, len(record.losses), record.cost.dtype)
    RA, RZ = r_forward(record, V)
    dZ, RdZ = r_backward(record, V, RA, RZ)
    first, *rest = sum_over_examples(record, record.A, RdZ, 1.0)
    if not rest:
        return (first,)
    # RA[0] is 0, so dZ[1] RA[0]^T is skipped
    of_RA = sum_over_examples(record, RA[1:], dZ[1:], 1.0)
    return (first, *(d._replace(W=d.W + other.W) for d, other in zip(rest, of_RA, strict=True)))


@jit
@for_each_vector
def gauss_newton_product(record: Record, V: Params) -> Params:
    """Compute G V, with G = sum_i w_i J_i^T H_i J_i, the Gauss-Newton part of the cost's Hessian.

    J_i is the Jacobian of example i's output with respect to the parameters, and H_i the Hessian of its loss with
    respect to that output. The output is Z[L] if the cost is matched to the output activation, as a
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
    RA, RZ = r_forward(record, V)
    R_output = (RZ if record.network.cost.matched else RA)[-1]
    dZ = back_from_output(record, loss_hessian(record)(R_output) * record.weights.astype(record.cost.dtype))
    return sum_over_examples(record, record.A, dZ, 1.0)


def gauss_newton_diagonal(record: Record, reduction: Reduction = "mean") -> Params:
    """Compute the diagonal of G = sum_i w_i J_i^T H_i J_i, in the shape of the parameters.

    H_i = sum_k s_k s_k^T. If dZ is the backward pass from s_k, the diagonal with respect to Z[l] is the sum of squares
    h[l] = sum_k dZ[l]^2. The diagonal with respect to W[l] is (h[l] * w) (A[l-1]^2)^T, as the Jacobian with respect to
    W[l] is that with respect to Z[l] times A[l-1]. J and H are those of `bp.gauss_newton_product`. For a cross-entropy,
    G is also the Fisher matrix. Dangel et al., BackPACK: packing more into backprop (2020), arXiv:1912.10985.

    Args, Returns: those of `bp.second_moment`.

    Raises:
        TypeError, ValueError: a cost without `hessian_root`; an unknown reduction.

    Example:
        >>> network = bp.Network((2, 3, 1), output="sigmoid")
        >>> params = bp.init(network, jax.random.key(0))
        >>> record = bp.backpropagate(network, params, jnp.ones((2, 5)), jnp.zeros((1, 5)))
        >>> [bool((h.W >= 0).all()) for h in bp.gauss_newton_diagonal(record)]
        [True, True]
    """
    check_record(record)
    return reduce(record, _diagonal(record), reduction)


@jax.jit
def _diagonal(record: Record) -> Params:
    h = sum_over_roots(record, lambda dZ: [jnp.square(d) for d in dZ[1:]])
    return sum_over_examples(record, [jnp.square(A) for A in record.A], [NONE, *h])


def _checked(params: Params, V: Params) -> tuple[Params, bool]:
    several_layers = isinstance(V, tuple | list) and not isinstance(V, Layer)
    if not several_layers or len(V) != len(params):
        came = f"{a_kind(V)} of length {len(V)}" if several_layers else a_kind(V)
        raise TypeError(f"V is {came}; expected a tuple of {len(params)} bp.Layer(W, b), like the parameters")
    checked, several = [], set()
    for l, (layer, v) in enumerate(zip(params, V, strict=True), start=1):
        if not isinstance(v, tuple) or len(v) != 2:
            raise TypeError(f"layer {l} of V is {a_kind(v)}; expected a bp.Layer(W, b)")
        for name, p, x in (("W", layer.W, v[0]), ("b", layer.b, v[1])):
            shape = getattr(x, "shape", None)
            if shape is None or shape[-2:] != p.shape or len(shape) > 3:
                raise ValueError(
                    f"{name}[{l}] of V is {a_kind(x)}; expected shape {p.shape}, as in the parameters, or "
                    f"{str(p.shape).replace('(', '(k, ')} for k vectors at once"
                )
            several.add(shape[:-2])
        checked.append(Layer(v[0].astype(layer.W.dtype), v[1].astype(layer.b.dtype)))
    if len(several) > 1:
        counts = " and ".join(f"{shape[0]} stacked" if shape else "one" for shape in sorted(several))
        raise ValueError(f"arrays of V hold {counts}; expected the same number of vectors in each array")
    return tuple(checked), several != {()}
