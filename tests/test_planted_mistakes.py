"""Planted mistakes: the package is copied, one line of it is made wrong, and the comparison has to notice.

Each entry is (module, the line as it is, the line made wrong). A line that has changed fails the test that plants in
it, so the list keeps up with the code.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planted import check_table, small_problem
from problems import columns

from reference import loops
from reference.compare import largest_error
from reference.grid import draw

pytestmark = pytest.mark.usefixtures("unjitted")

MISTAKES = {
    "sign of the loss": ("_costs", "Y * jax.nn.softplus(-Z) + (1", "-Y * jax.nn.softplus(-Z) + (1"),
    "sign of dA, squared error": ("_costs", "return 2 * (A - Y)", "return 2 * (Y - A)"),
    "2 missing": ("_costs", "return 2 * (A - Y)", "return A - Y"),
    "sign of dA, absolute error": ("_costs", "return jnp.sign(A - Y)", "return jnp.sign(Y - A)"),
    "sign of dZ, sigmoid": ("_costs", "(1 - Y) * A - Y * jax.nn.sigmoid(-Z)", "Y * jax.nn.sigmoid(-Z) - (1 - Y) * A"),
    "one term of dZ, sigmoid": ("_costs", "(1 - Y) * A - Y * jax.nn.sigmoid(-Z)", "(1 - Y) * A"),
    "g' beside the collapsed dZ": ("_costs", "return (1 - Y) * A - Y *", "return A * (1 - A) * (1 - Y) * A - Y *"),
    "sign of dZ, softmax": ("_costs", "minus_one_at_class(A *", "-minus_one_at_class(A *"),
    "soft targets that do not sum to 1": ("_costs", "A * jnp.sum(Y, axis=0, keepdims=True) - Y", "A - Y"),
    "wrong class in dZ": ("_costs", "_one_if_class(Y, A)[None, :], Y)", "_one_if_class(Y, A)[None, :], (Y + 1) % len(A))"),
    "wrong class in the loss": ("_machine/class_indices", "jnp.take_along_axis(Z, Y[None, :]", "jnp.take_along_axis(Z, Y[None, :] - 1"),
    "g' missing": ("_equations", "dA[l - 1] * g[l - 1].g_prime(Z[l - 1], A[l - 1])", "dA[l - 1]"),
    "g' twice": ("_equations", "g[l - 1].g_prime(Z[l - 1], A[l - 1])", "g[l - 1].g_prime(Z[l - 1], A[l - 1]) ** 2"),
    "g' at A instead of Z": ("_equations", "g_prime(Z[l - 1], A[l - 1])", "g_prime(A[l - 1], g[l - 1](A[l - 1]))"),
    "g' missing at the output": ("_activations", "return dA * activation.g_prime(Z, A)", "return dA"),
    "softmax's diagonal only": ("_activations", "return A * (dA - jnp.sum(A * dA, axis=0, keepdims=True))", "return A * (1 - A) * dA"),
    "sum over the wrong axis, softmax": ("_activations", "jnp.sum(A * dA, axis=0", "jnp.sum(A * dA, axis=1"),
    "sigmoid' of Z": ("_activations", "return A * (1 - A)\n", "return Z * (1 - Z)\n"),
    "tanh' without the square": ("_activations", "return (1 - A) * (1 + A)", "return 1 - A"),
    "relu' leaks": ("_activations", "return (A > 0).astype(A.dtype)", "return (Z > -0.1).astype(A.dtype)"),
    "leaky_relu' without its slope": ("_activations", "jnp.where(A >= 0, 1, 0.01).astype", "jnp.where(A >= 0, 1, 0).astype"),
    "elu' of the other branch": ("_activations", "return jnp.exp(jnp.minimum(Z, 0))", "return jnp.exp(-jnp.maximum(Z, 0))"),
    "softplus' is not softplus": ("_activations", "return -jnp.expm1(-A)", "return A"),
    "silu' without its second term": ("_activations", "return s + A * (1 - s)", "return s"),
    "gelu' without u'": ("_activations", "(1 - t) * (1 + t) * _gelu_u_prime(Z)", "(1 - t) * (1 + t)"),
    "b forgotten": ("_equations", "weighted_input(W[l], A[l - 1]) + b[l]", "weighted_input(W[l], A[l - 1]) + 0 * b[l]"),
    "g of another layer": ("_equations", "A.append(g[l](Z[l]))", "A.append(g[max(1, l - 1)](Z[l]))"),
    "g' of another layer": ("_equations", "g[l - 1].g_prime", "(g[l] if g[l].g_prime else g[1]).g_prime"),
    "A[l] for A[l-1] in dW": ("_equations", "product(dZ[l], A[l - 1], W[l]", "product(dZ[l], A[l], W[l]"),
    "layers swapped": ("_equations", "for l in range(1, len(W)))\n", "for l in range(len(W) - 1, 0, -1))\n"),
    "dW 1 % off": ("_equations", "W=product(dZ[l]", "W=1.01 * product(dZ[l]"),
    "db zero": ("_equations", "b=bias_gradient(dZ[l])", "b=0 * bias_gradient(dZ[l])"),
    "db over the wrong axis": ("_machine/products", "jnp.sum(dZ, axis=1", "jnp.sum(dZ, axis=0"),
    "db a mean": ("_machine/products", "jnp.sum(dZ, axis=1", "jnp.mean(dZ, axis=1"),
    "W of another layer": ("_equations", "back_through_weights(W[l], dZ[l]", "back_through_weights(W[max(1, l - 1)], dZ[l]"),
    "dZ of another layer": ("_equations", "dA[l - 1] = back_through_weights(W[l], dZ[l]", "dA[l - 1] = back_through_weights(W[l], dZ[-1]"),
    "1/m missing": ("_output", "return 1 / m\n", "return 1.0\n"),
    "1/m twice": ("_output", "return 1 / m\n", "return 1 / m**2\n"),
    "weights not divided by their sum": ("_output", "jnp.where(present, jnp.sum(weights), 1)", "len(weights[0])"),
    "weights forgotten": ("_cost_rule", "None else weights, dC *", "None else jnp.ones_like(weights), dC *"),
    "W for W^T": ("_machine/products", "_dot, axes=(0, 0)", "_dot, axes=(1, 0)"),
    "A for A^T": ("_machine/products", "_dot, axes=(1, 1)", "_dot, axes=(1, 0)"),
    "dW transposed": ("_machine/products", "return as_it_is(dZ, A)", "return as_it_is(A, dZ)"),
    "cotangent ignored": ("_cost_rule", "1.0 if weights is None else weights, dC *", "1.0 if weights is None else weights, 1.0 *"),
}  # fmt: skip


# Problem, weighted, one example. Between them these use every line above: both cross-entropies, both errors, every
# activation.
CHECKED = [
    (small_problem("sigmoid", "sigmoid", targets="binary"), False, False),
    (small_problem(("tanh", "gelu")), True, False),
    (small_problem(("tanh", "gelu")), False, True),
    (small_problem("relu", targets="one-hot"), False, False),
    (small_problem("tanh", cost="squared_error", targets="distributions"), False, False),
    (small_problem("tanh", "identity", "absolute_error", "real"), False, False),
    (small_problem("tanh", "sigmoid", "squared_error", "probabilities"), False, False),
    (small_problem(("leaky_relu", "elu")), False, False),
    (small_problem(("softplus", "silu")), False, False),
]


@functools.cache
def _drawn(problem, weighted, few):
    """A problem's data, and what the scalar loops make of it: twice the cost with its derivatives by params and X."""
    data = draw(problem, 0)
    if few:
        data = data._replace(X=data.X[:, :1], Y=data.Y[..., :1], weights=data.weights[:1])
    weights = data.weights if weighted else None
    C, *derivatives = loops.cost_and_gradient(problem.model, data.params, data.X, columns(problem, data), weights)
    true = [np.asarray(2 * leaf) for leaf in (C, *jax.tree.leaves(derivatives))]
    return (data.params, *jax.tree.map(jnp.asarray, (data.X, data.Y, weights))), true


def _found(bp, model, params, X, *rest):
    """Twice the cost, so that its cotangent is not 1, with its derivatives by params and X."""
    network, params = bp.Network(*model), tuple(bp.Layer(*map(jnp.asarray, layer)) for layer in params)
    found = jax.value_and_grad(lambda p, X: 2 * bp.cost(network, p, X, *rest), argnums=(0, 1))(params, X)
    return jax.tree.leaves(found)


def _noticed(bp) -> bool:
    for problem, weighted, few in CHECKED:
        args, true = _drawn(problem, weighted, few)
        try:
            error = largest_error(_found(bp, problem.model, *args), true)
        except (TypeError, ValueError):
            # shapes that do not fit: loud enough
            return True
        if error > 1e-12:
            return True
    return False


test_a_faithful_copy_passes, test_mistake_is_noticed = check_table(MISTAKES, _noticed)
