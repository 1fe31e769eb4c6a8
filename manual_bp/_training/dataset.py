"""Examples as training reads them: in rows."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Integer

from manual_bp._checks import arguments


class Dataset(NamedTuple):
    """A training set with examples in rows. Each lies in one piece of memory, so that a batch is quick to collect.

    Everywhere else in this library columns are examples; `Dataset.from_columns` converts them.

    Example:
        >>> data = bp.Dataset.from_columns(X=np.ones((4, 10), "float32"), Y=np.arange(10) % 3)
        >>> data.X.shape, data.Y.shape, data.weights
        ((10, 4), (10,), None)

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
        """Converts X of shape (n_0, m), Y of shape (n_L, m) or (m,), and weights, the arguments of `bp.cost`."""
        return cls(_transposed(X), _transposed(Y), None if weights is None else jnp.asarray(weights))


def _transposed(x: Array | np.ndarray) -> Array:
    # NumPy transposes without a copy, so a view that was transposed before is not copied twice
    return jnp.asarray(x.T) if isinstance(x, np.ndarray) else jnp.asarray(x).T


def check_dataset(data: Dataset) -> int:
    """The number of examples of a well-formed dataset."""
    if not isinstance(data, Dataset):
        raise TypeError(f"data is {arguments.a_kind(data)}; expected a bp.Dataset: bp.Dataset.from_columns(X, Y)")
    shapes = {name: getattr(x, "shape", ()) for name, x in data._asdict().items() if x is not None}
    if len({shape[:1] for shape in shapes.values()}) > 1 or len(shapes["X"]) != 2 or shapes["X"][0] == 0:
        found = ", ".join(f"{name} of shape {shape}" for name, shape in shapes.items())
        raise ValueError(f"data has {found}; expected a row for each example in all of them, and at least one example")
    return shapes["X"][0]


def batch_of_rows(
    data: Dataset, rows: Array, present: Array | None, mesh: Mesh | None = None
) -> tuple[Array, Array, Array | None]:
    """Returns X, Y and weights of some examples, in columns, spread over the mesh's axis "data" if there is one.

    Examples that are not present have weight zero; if `present` is None, all are.
    """
    X, Y = (_rows_on_mesh(x, rows, mesh) for x in (data.X, data.Y))
    w = None if data.weights is None else _rows_on_mesh(data.weights, rows, mesh)
    if present is not None:
        given = present.astype(X.dtype) if w is None else w
        w = jnp.where(present, given, 0)
    return X.T, Y.T, w


def _rows_on_mesh(x: Array, rows: Array, mesh: Mesh | None) -> Array:
    if mesh is None:
        return x[rows]
    placed = NamedSharding(mesh, PartitionSpec("data"))
    if mesh.axis_types[mesh.axis_names.index("data")] == AxisType.Explicit:
        rows = jax.sharding.reshard(rows, placed)
        return x.at[rows].get(out_sharding=placed)
    return jax.lax.with_sharding_constraint(x[rows], placed)
