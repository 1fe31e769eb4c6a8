"""The Hessian of each example's loss with respect to the output, from which all curvature is computed.

The output is Z[L] if the cost is matched to the output activation, and A[L] otherwise.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
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
    hessian = functions.loss_hessian(record.network, len(record.losses), record.cost.dtype)
    args = _output_and_targets(record)
    return lambda V: hessian(*args, V.astype(args[0].dtype)).astype(V.dtype)


def back_from_output(record: Record, d: Float[Array, "n m"]) -> list:
    """dZ[0..L] of a function whose derivative with respect to the output is `d`; dZ[0] is None."""
    network, A, Z = record.network, record.A, record.Z
    dZ_L = d if network.cost.matched else activation_backward(network.output, d, Z[-1], A[-1])
    return equations.backward(network.activations, record.params, A, Z, dZ_L)[1]


def sum_over_roots(record: Record, term: Callable[[list], Any]) -> Any:
    """The sum over k of `term(dZ)`, where dZ[0..L] is the backward pass from S[k], and H = sum_k S[k] S[k]^T.

    If d_k is the backward pass from S[k], then J^T H J = sum_k d_k d_k^T. Dangel et al., BackPACK: packing more into
    backprop (2020), arXiv:1912.10985.
    """
    root = functions.loss_hessian_root(record.network, len(record.losses), record.cost.dtype)
    S = root(*_output_and_targets(record))

    def of(S_k: Array) -> Any:
        return term(back_from_output(record, S_k.astype(record.cost.dtype)))

    # One pass after another, so that the memory needed is that of one
    total, _ = lax.scan(lambda total, S_k: (jax.tree.map(jnp.add, total, of(S_k)), None), of(S[0]), S[1:])
    return total


def _output_and_targets(record: Record) -> tuple[Array, ...]:
    Z_L, A_L, Y = output.output_in_float32(record.A, record.Z, record.Y)
    return (Z_L, A_L, Y) if record.network.cost.matched else (A_L, Y)
