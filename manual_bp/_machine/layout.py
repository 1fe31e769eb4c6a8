"""The layout of the examples inside a pass: columns, as the equations have them, or rows of the transposed arrays."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxtyping import Array

from manual_bp._machine.products import ForRows, turned
from manual_bp._machine.sharding import mesh_of


class Layout(NamedTuple):
    """How a pass holds A[l], Z[l], dA[l] and dZ[l] of its hidden layers; those of the output are always columns.

    The lines of the equations hold for both: in rows they read (W[l] A[l-1] + b[l])^T, and so on. Only the products
    have to know, which is what `params` tells them.
    """

    in_rows: bool

    def params(self, params: Any) -> Any:
        """The layers, as the products of this layout take them."""
        if not self.in_rows:
            return params
        *hidden, last = params
        inner = (layer._replace(W=ForRows(layer.W, False), b=layer.b.T) for layer in hidden)
        return (*inner, last._replace(W=ForRows(last.W, True)))

    def inputs(self, X: Array) -> Array:
        """X, given in columns, as the first layer takes it."""
        return turned(X) if self.in_rows else X

    def turn(self, x: Any) -> Any:
        """An array or None from columns to this layout, and back."""
        return x if x is None or not self.in_rows else x.T

    def columns(self, arrays: list) -> list:
        """A list over layers 0 to L, in columns."""
        return [*map(self.turn, arrays[:-1]), arrays[-1]]


def of_pass(sizes: Sequence[int], X: Array, X_in_rows: bool = False) -> Layout:
    """The layout for examples X, given as columns; `X_in_rows` says that they lie in memory one after another.

    The slow product is the one that contracts the first axes of both factors. In columns that is W[l]^T dZ[l], and what
    it costs beyond its arithmetic grows with the weights from the second layer on. In rows it is dW[l], and there that
    grows with the activations, as does turning X if it does not lie in rows. So the hidden layers are in rows if these
    are fewer than twice those weights; and if a layer is more than four times as wide as there are examples, since in
    columns its array is many short rows of memory. One example is a vector, equal in both. docs/speed.md has the
    measurements.
    """
    m = X.shape[1]
    moved = m * sum(sizes[1:] if X_in_rows else sizes)
    weights = sum(n * k for k, n in zip(sizes[1:], sizes[2:], strict=False))
    # a mesh states the sharding of columns
    few = moved < 2 * weights or 4 * m < max(sizes[1:-1], default=0)
    return Layout(m > 1 and few and mesh_of(X).empty)
