"""The equations of backpropagation, as the textbook has them.

Columns are examples: m of them, layers l = 1..L, A[0] = X. Lists run from 0 to L, so that indices read as on paper.
dA[l] and dZ[l] are derivatives of each example's own loss.

    forward    Z[l] = W[l] A[l-1] + b[l]          A[l] = g[l](Z[l])
    backward   dZ[L] = dA[L] * g[L]'(Z[L])        becomes A - Y for cross-entropy on its own output (sigmoid, softmax)
               dZ[l] = dA[l] * g[l]'(Z[l])        dA[l-1] = W[l]^T dZ[l]
               dW[l] = (dZ[l] * w) A[l-1]^T       db[l] = sum over examples of dZ[l] * w

The backward pass starts from dZ[L], which `_output.py` forms. Its lines are linear in dZ[L], so the example weights w
may enter at the end, as written, or at the start: from dZ[L] * w every dA[l] and dZ[l] carries w, and
dW[l] = dZ[l] A[l-1]^T. Nielsen, Neural Networks and Deep Learning (2015), ch. 2; Goodfellow et al., Deep Learning
(2016), sec. 6.5.
"""

from collections.abc import Callable, Sequence
from typing import Any

from jaxtyping import Array, Float

from manual_bp._activations import Activation
from manual_bp._machine.products import back_through_weights, bias_gradient, weight_gradient, weighted_input
from manual_bp._network import Layer, Params

# Stands at index 0 of a list whose layers count from 1
NONE: Any = None


def forward(activations: Sequence[Activation], params: Params, X: Float[Array, "n0 m"]) -> tuple[list, list]:
    """Return A[0..L] and Z[0..L]; Z[0] is None."""
    W, b, g = from_one(params, activations)
    A, Z = [X], [NONE]
    for l in range(1, len(W)):
        Z.append(weighted_input(W[l], A[l - 1]) + b[l])
        A.append(g[l](Z[l]))
    return A, Z


def backward(
    activations: Sequence[Activation], params: Params, A: list, Z: list, dZ_L: Float[Array, "n m"]
) -> tuple[list, list]:
    """Return dA[0..L-1] and dZ[0..L]; dZ[0] is None."""
    W, _, g = from_one(params, activations)
    L = len(params)
    dA, dZ = [NONE] * L, [NONE] * L + [dZ_L]
    for l in range(L, 0, -1):
        dA[l - 1] = back_through_weights(W[l], dZ[l], A[l - 1])
        if l > 1:
            dZ[l - 1] = dA[l - 1] * g[l - 1].g_prime(Z[l - 1], A[l - 1])
    return dA, dZ


def gradient_sums(params: Params, A: list, dZ: list, product: Callable[..., Array] = weight_gradient) -> Params:
    """Return dW[l] = dZ[l] A[l-1]^T and db[l] = sum of the columns of dZ[l], the product being `product`."""
    W = NONE, *(layer.W for layer in params)
    return tuple(Layer(W=product(dZ[l], A[l - 1], W[l]), b=bias_gradient(dZ[l])) for l in range(1, len(W)))


def from_one(params: Params, activations: Sequence[Activation]) -> tuple[Sequence, Sequence, Sequence]:
    """Return W, b and g with layer l at index l."""
    return (NONE, *(W for W, _ in params)), (NONE, *(b for _, b in params)), (NONE, *activations)
