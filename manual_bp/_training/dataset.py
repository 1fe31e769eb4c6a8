"""Examples as training reads them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Integer

from manual_bp._checks import arguments


class Dataset(NamedTuple):
    """Examples stored one after another, as files have them: a batch is then some rows, read as they lie.

    Everywhere else in this library columns are examples; `Dataset.from_columns` takes them so.

    Attributes:
        X: inputs, shape (m, n_0).
        Y: targets, shape (m, n_L), or class indices, shape (m,).
        weights: example weights, shape (m,), or None.
    """

    X: Float[Array, "m n_0"]
    Y: Float[Array, "m n_L"] | Integer[Array, " m"]
    weights: Float[Array, " m"] | None = None

    @classmethod
    def from_columns(
        cls, X: Array | np.ndarray, Y: Array | np.ndarray, weights: Array | np.ndarray | None = None
    ) -> "Dataset":
        """From X of shape (n_0, m), Y of shape (n_L, m) or (m,), and weights, as `bp.cost` takes them."""
        return cls(_rows(X), _rows(Y), None if weights is None else jnp.asarray(weights))


def _rows(x: Array | np.ndarray) -> Array:
    # NumPy turns an array around without a copy, and what was a transposed view lies as it should
    return jnp.asarray(x.T) if isinstance(x, np.ndarray) else jnp.asarray(x).T


def check_dataset(data: Dataset) -> int:
    """The number of examples."""
    if not isinstance(data, Dataset):
        raise TypeError(
            f"data is {arguments.a_kind(data)}; expected a bp.Dataset, such as bp.Dataset.from_columns(X, Y)"
        )
    shapes = {name: getattr(x, "shape", ()) for name, x in data._asdict().items() if x is not None}
    if len({shape[:1] for shape in shapes.values()}) > 1 or len(shapes["X"]) != 2 or shapes["X"][0] == 0:
        found = ", ".join(f"{name} of shape {shape}" for name, shape in shapes.items())
        raise ValueError(f"data has {found}; expected as many rows in each, one for each example, and at least one")
    return shapes["X"][0]


def columns(data: Dataset, rows: Array, present: Array, mesh: Mesh | None) -> tuple[Array, Array, Array]:
    """X, Y and weights of some examples, in columns; those that are not present have weight zero.

    On a mesh the examples are spread over its axis "data".
    """
    X, Y = (take(x, rows, mesh) for x in (data.X, data.Y))
    given = present.astype(X.dtype) if data.weights is None else take(data.weights, rows, mesh)
    return X.T, Y.T, jnp.where(present, given, 0)


def take(x: Array, rows: Array, mesh: Mesh | None) -> Array:
    """Some rows of x, on a mesh spread over its axis "data"."""
    if mesh is None:
        return x[rows]
    placed = NamedSharding(mesh, PartitionSpec("data"))
    if mesh.axis_types[mesh.axis_names.index("data")] == AxisType.Explicit:
        rows = jax.sharding.reshard(rows, placed)
        return x.at[rows].get(out_sharding=placed)
    return jax.lax.with_sharding_constraint(x[rows], placed)
