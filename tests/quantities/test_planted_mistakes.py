"""Planted mistakes in what is more than the gradient: per-example quantities, moments, curvature, the private gradient.

As in tests/test_planted_mistakes.py: (module, the line as it is, the line made wrong).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planted import check_table, small_problem

from reference import curvature, per_example
from reference.compare import largest_error
from reference.grid import draw

pytestmark = pytest.mark.usefixtures("unjitted")

MISTAKES = {
    "b forgotten in the norms": ("_quantities/per_example", "axis=0) + 1)", "axis=0))"),
    "squares for norms": ("_quantities/per_example", "* _norms(_wide(dZ))", "* _norms(_wide(dZ)) ** 2"),
    "norms added, not their squares": ("_quantities/per_example", "_norms(per_example_layer_norms(record).T)", "jnp.sum(per_example_layer_norms(record), axis=1)"),
    "A of the same layer": ("_quantities/per_example", "pairs = zip(record.A[:-1], record.dZ[1:]", "pairs = zip(record.A[1:], record.dZ[1:]"),
    "b forgotten in the Gram matrix": ("_quantities/per_example", "(inner_products(A) + 1)", "inner_products(A)"),
    "layers' inner products multiplied": ("_quantities/per_example", "(inner_products(A) + 1) * inner_products(dZ)", "(inner_products(A) + 1) + inner_products(dZ)"),
    "outer product transposed": ("_quantities/per_example", '"im,jm->mij", dZ, A', '"im,jm->mji", dZ, A'),
    "raised to the bound": ("_quantities/clipping", "return C / jnp.maximum(norms, C)", "return C / norms"),
    "clipped by the square": ("_quantities/clipping", "return C / jnp.maximum(norms, C)", "return C / jnp.maximum(norms**2, C)"),
    "weights forgotten in clipping": ("_quantities/clipping", "record.weights * clip", "jnp.ones_like(record.weights) / len(record.losses) * clip"),
    "norms of weighted gradients": ("_quantities/clipping", "[_clip(per_example_norms(record), max_norm)]", "[_clip(record.weights[0] * per_example_norms(record), max_norm)]"),
    "bound of another layer": ("_quantities/clipping", "_clip(norms[i], C)", "_clip(norms[i - 1], C)"),
    "A not squared": ("_quantities/moments", "[jnp.square(A) for A in record.A]", "[A for A in record.A]"),
    "dZ not squared": ("_quantities/moments", "[None, *(jnp.square(dZ) for", "[None, *(dZ for"),
    "second moment for variance": ("_quantities/moments", "jnp.maximum(square - g**2, 0)", "square"),
    "sample variance": ("_quantities/moments", "jnp.maximum(square - g**2, 0)", "jnp.maximum(square - g**2, 0) / (1 - jnp.sum(record.weights**2))"),
    "signal not squared": ("_quantities/moments", "g**2 / v)", "g / v)"),
    "biased noise scale": ("_quantities/moments", "/ (1 - jnp.sum(w**2))", "/ 1"),
    "noise in the signal": ("_quantities/moments", "return trace / (mean_square - trace)", "return trace / square_mean"),
    "sum by the number of examples": ("_quantities/reduction", "x * record.total_weight.astype(x.dtype)", "x * len(record.losses)"),
    "total weight after normalizing": ("_record", "else jnp.sum(weights)", "else jnp.ones(())"),
    "another output": ("_quantities/output_gradient", "jax.nn.one_hot(k, ", "jax.nn.one_hot(k - 1, "),
    "softmax left out of the output's gradient": ("_quantities/output_gradient", "dZ_L = e_k if before_activation else", "dZ_L = e_k if True else"),
    "softmax kept in the logit's gradient": ("_quantities/output_gradient", "dZ_L = e_k if before_activation else", "dZ_L = e_k if False else"),
    "blocks of their own weights": ("_quantities/accumulate", "Y, w, total_weight, whole=False", "Y, w / w.sum(), total_weight, whole=False"),
    "last block twice": ("_machine/blocks", "of_block(i * size, size)", "of_block((i + 1) * size, size)"),
    "joined in the wrong order": ("_machine/blocks", "jnp.concatenate([joined.reshape(shape), last], axis)", "jnp.concatenate([last, joined.reshape(shape)], axis)"),
    "loss's Hessian of A - Y": ("_costs", "return _total(Y, A) * A * (V - jnp.sum(A * V, axis=0, keepdims=True))", "return _total(Y, A) * A * V"),
    "sigmoid's Hessian without 1 - A": ("_costs", "return A * jax.nn.sigmoid(-Z) * V", "return A * V"),
    "1 for 2": ("_costs", "    return 2 * V", "    return V"),
    "g'' of tanh": ("_activations", "return -2 * A * (1 - A) * (1 + A)", "return -A * (1 - A) * (1 + A)"),
    "g'' of gelu": ("_activations", "u_second - 2 * t * u_prime**2", "u_second - t * u_prime**2"),
    "R{W A} without W R{A}": ("_quantities/r_operator", "RZ[l] += weighted_input(W[l], RA[l - 1])", "pass"),
    "R{b} forgotten": ("_quantities/r_operator", "weighted_input(RW[l], A[l - 1]) + Rb[l]", "weighted_input(RW[l], A[l - 1])"),
    "g' missing in RA": ("_quantities/r_operator", "RA.append(activation_backward(g[l], RZ[l], Z[l], A[l]))", "RA.append(RZ[l])"),
    "RW^T dZ forgotten": ("_quantities/r_operator", " + back_through_weights(RW[l], dZ[l], A[l - 1])", ""),
    "g'' term forgotten": ("_quantities/r_operator", "return RdZ if g.g_second is zero_second else RdZ +", "return RdZ if True else RdZ +"),
    "RZ for RA in the softmax": ("_quantities/r_operator", "return RA * (dA - s) + A * (RdA - Rs)", "return RZ * (dA - s) + A * (RdA - Rs)"),
    "one term of Rs": ("_quantities/r_operator", "RA * dA + A * RdA", "A * RdA"),
    "dZ RA^T forgotten": ("_quantities/curvature", "d._replace(W=d.W + other.W)", "d"),
    "dZ RA^T of another layer": ("_quantities/curvature", "zip(rest, of_RA, strict=True)", "zip(rest, of_RA[::-1], strict=False)"),
    "weights twice": ("_quantities/curvature", "sum_over_examples(record, record.A, dZ, 1.0)", "sum_over_examples(record, record.A, dZ)"),
    "softmax's root without its mean": ("_costs", "[:, None, :] * (e - A)", "[:, None, :] * e"),
    "squared error's root": ("_costs", "jnp.full_like(A, 2**0.5)", "jnp.full_like(A, 2.0)"),
    "sigmoid's root": ("_costs", "jnp.sqrt(A * jax.nn.sigmoid(-Z))", "(A * jax.nn.sigmoid(-Z))"),
    "one root left out": ("_quantities/loss_hessian", "of(S[0]), S[1:]", "of(S[0]), S[2:]"),
    "root by A[L] taken by Z[L]": ("_quantities/loss_hessian", "dZ_L = d if network.cost.matched else", "dZ_L = d if True else"),
    "A not squared in the diagonal": ("_quantities/curvature", "[jnp.square(A) for A in record.A]", "record.A"),
    "K-FAC without the bias": ("_quantities/kfac", "jnp.ones_like(A[:1])", "jnp.zeros_like(A[:1])"),
    "K-FAC unweighted": ("_quantities/kfac", "outer_products(X * w, X)", "outer_products(X, X)"),
    "noise after the division": ("privacy/_private_gradient", "(d + std * n) / expected_batch_size", "d / expected_batch_size + std * n"),
    "divided by the batch": ("privacy/_private_gradient", "(d + std * n) / expected_batch_size", "(d + std * n) / jnp.sum(bounded.weights)"),
    "layers' bounds added": ("privacy/_private_gradient", "math.hypot(*max_norm)", "sum(max_norm)"),
    "NaN let in": ("privacy/_private_gradient", "finite & (record", "(record"),
}  # fmt: skip


# Between them these use every line above: all quantities of the first, and what its output has a part in of the others
BOUNDS = (0.8, 0.6, 1.1)
FIRST = small_problem(("tanh", "gelu"))
OTHERS = [
    small_problem("tanh", "softmax", "squared_error", "distributions"),
    small_problem("tanh", "sigmoid", targets="binary"),
]
BY_OUTPUT = ("output", "logit", "diagonal", "K-FAC", "Gauss-Newton", "Hessian")


@functools.cache
def _drawn(problem):
    """Arguments, V and by autodiff every quantity that is looked at."""
    data = draw(problem, 0)
    X, Y, weights = jax.tree.map(jnp.asarray, (data.X, data.Y, data.weights))
    params = tuple((jnp.asarray(W), jnp.asarray(b)) for W, b in data.params)
    V = jax.tree.map(jnp.cos, params)
    model, total = problem.model, jnp.sum(weights)
    w = weights / total

    @jax.jit
    def by_output():
        return {
            "output": curvature.output_gradient(model, params, X, 1, False),
            "logit": curvature.output_gradient(model, params, X, 1, True),
            "diagonal": curvature.gauss_newton_diagonal(model, params, X, Y, w),
            "K-FAC": curvature.kfac_factors(model, params, X, Y, w),
            "Gauss-Newton": curvature.gauss_newton_product(model, params, X, Y, w, V),
            "Hessian": curvature.hessian_product(model, params, X, Y, weights, V),
        }

    @jax.jit
    def of_gradients():
        grads = per_example.gradients(model, params, X, Y)
        bounds, ones = [jnp.asarray(C) for C in BOUNDS], jnp.ones(len(w))
        variance = per_example.variance(grads, w)
        return {
            "gradients": grads,
            "norms": per_example.norms(grads),
            "Gram": per_example.gram_matrix(grads),
            "clipped": per_example.clipped(grads, w, jnp.asarray(1.5)),
            "clipped by layer": per_example.clipped(grads, w, bounds),
            "second moment": jax.tree.map(lambda x: x * total, per_example.second_moment(grads, w)),
            "variance": variance,
            "signal": jax.tree.map(lambda g, v: g**2 / v, per_example.mean(grads, w), variance),
            "noise": per_example.noise_scale(grads, w),
            "private": per_example.clipped(grads, ones / 5, bounds),
            "accumulated": (per_example.mean(grads, w), per_example.norms(grads)),
        }

    with jax.disable_jit(False):
        true = by_output() | (of_gradients() if problem == FIRST else {})
    return (params, X, Y, weights, V), {name: jax.tree.leaves(value) for name, value in true.items()}


def _quantities(bp, model, params, X, Y, weights, V):
    network, params, V = bp.Network(*model), *(tuple(bp.Layer(*layer) for layer in tree) for tree in (params, V))
    record = bp.backpropagate(network, params, X, Y, weights)
    accumulated = bp.accumulate(lambda r: (bp.gradients(r), bp.per_example_norms(r)), network, 4)
    return {
        "gradients": lambda: bp.per_example_gradients(record),
        "norms": lambda: bp.per_example_norms(record),
        "Gram": lambda: bp.gram_matrix(record),
        "clipped": lambda: bp.clipped_gradients(record, 1.5),
        "clipped by layer": lambda: bp.clipped_gradients(record, BOUNDS),
        "second moment": lambda: bp.second_moment(record, "sum"),
        "variance": lambda: bp.variance(record),
        "signal": lambda: bp.signal_to_noise(record),
        "noise": lambda: bp.noise_scale(record),
        "output": lambda: bp.output_gradient(record, 1),
        "logit": lambda: bp.output_gradient(record, 1, before_activation=True),
        "diagonal": lambda: bp.gauss_newton_diagonal(record),
        "K-FAC": lambda: bp.kfac_factors(record),
        "Gauss-Newton": lambda: bp.gauss_newton_product(record, V),
        "Hessian": lambda: bp.hessian_product(record, V),
        "accumulated": lambda: _in_one_program(accumulated, params, X, Y, weights),
        "private": lambda: _without_noise(bp, network, params, X, Y),
    }


def _in_one_program(f, *args):
    """Cheaper than the operations on a block's shapes one by one."""
    with jax.disable_jit(False):
        return f(*args)


def _without_noise(bp, network, params, X, Y):
    """The private gradient, less that of examples that are not finite: it is finite, and noise as large as is said."""
    private = bp.private_value_and_grad(network, BOUNDS, 2.0, 5)
    nan = jnp.full_like(X, jnp.nan)
    # of the generator that takes the fewest operations
    keys = [jax.random.key(seed, impl="unsafe_rbg") for seed in range(4)]
    gradient = private(params, X, Y, keys[0]).gradient
    noise = [jax.tree.map(np.asarray, private(params, nan, Y, key).gradient) for key in keys]
    values = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(noise)])
    assert np.isfinite(values).all() and abs(np.std(values) / (2 * np.hypot.reduce(BOUNDS) / 5) - 1) < 0.1
    return jax.tree.map(lambda g, n: np.asarray(g) - n, gradient, noise[0])


def _noticed(bp) -> bool:
    """Whether any is wrong; what costs the most comes last."""
    dear = ("private", "accumulated")
    cheap = [name for name in _drawn(FIRST)[1] if name not in dear]
    order = (FIRST, cheap), *((problem, BY_OUTPUT) for problem in OTHERS), (FIRST, dear)
    for problem, names in order:
        args, true = _drawn(problem)
        try:
            found = _quantities(bp, problem.model, *args)
            for name in names:
                if largest_error(jax.tree.leaves(found[name]()), true[name]) > 1e-11:
                    return True
        except (AssertionError, TypeError, ValueError):
            # noise of another size, or shapes that do not fit: loud enough
            return True
    return False


test_a_faithful_copy_passes, test_mistake_is_noticed = check_table(MISTAKES, _noticed)
