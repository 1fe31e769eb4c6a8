"""The forward pass as a user asks for it."""

from jaxtyping import Array

from manual_bp import _equations as equations
from manual_bp._checks import arguments
from manual_bp._jit import jit
from manual_bp._network import AnyArray, Network, Params


@jit
def forward(network: Network, params: Params, X: AnyArray) -> tuple[list, list]:
    """Compute every layer's activations and weighted inputs: Z[l] = W[l] A[l-1] + b[l], A[l] = g[l](Z[l]).

    Args:
        network: the description.
        params: a tuple of L layers, as `bp.init` gives.
        X: inputs, shape (n_0, m): columns are examples.

    Returns:
        (A, Z), lists indexed 0 to L of arrays of shape (n_l, m); A[0] is X and Z[0] is None.

    Raises:
        ValueError, TypeError: a shape or dtype that does not fit the network.

    Example:
        >>> network = bp.Network((2, 3, 1), output="sigmoid")
        >>> params = bp.init(network, jax.random.key(0))
        >>> A, Z = bp.forward(network, params, jnp.ones((2, 5)))
        >>> [a.shape for a in A]
        [(2, 5), (3, 5), (1, 5)]
    """
    params, X = arguments.inputs(network, params, X)
    return equations.forward(network.activations, params, X)


@jit
def predict(network: Network, params: Params, X: AnyArray) -> Array:
    """Compute the output A[L].

    Args:
        network, params, X: those of `bp.forward`.

    Returns:
        Shape (n_L, m).

    Raises:
        ValueError, TypeError: a shape or dtype that does not fit the network.

    Example:
        >>> network = bp.Network((2, 3, 4))
        >>> params = bp.init(network, jax.random.key(0))
        >>> A_L = bp.predict(network, params, jnp.ones((2, 5)))
        >>> A_L.shape, bool(jnp.allclose(A_L.sum(axis=0), 1))
        ((4, 5), True)
    """
    return forward(network, params, X)[0][-1]
