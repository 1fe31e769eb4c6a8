"""Compare the quantities of manual_bp in addition to the gradient with autodiff over the grid, one line per problem."""

import functools
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import manual_bp as bp
from reference import autodiff, curvature, per_example
from reference.compare import largest_error
from reference.grid import SEEDS, Data, Problem, draw

BOUND = 1e-11


def quantities(problem: Problem, data: Data, weighted: bool) -> dict[str, tuple[Any, Any]]:
    """Compute every quantity by hand and by autodiff, in float64."""
    params = tuple(bp.Layer(jnp.asarray(W), jnp.asarray(b)) for W, b in data.params)
    V = jax.tree.map(lambda p: jnp.asarray(np.random.default_rng(p.size).normal(size=p.shape)), params)
    weights = jnp.asarray(data.weights) if weighted else None
    return _program(problem)(params, jnp.asarray(data.X), jnp.asarray(data.Y), weights, V)


@functools.cache
def _program(problem: Problem) -> Any:
    model = problem.model
    network, L = bp.Network(*model), len(problem.model.sizes) - 1

    @jax.jit
    def program(params: Any, X: Any, Y: Any, weights: Any, V: Any) -> dict[str, tuple]:
        record = bp.backpropagate(network, params, X, Y, weights)
        grads = per_example.gradients(model, params, X, Y)
        m = X.shape[1]
        total = jnp.asarray(float(m)) if weights is None else jnp.sum(weights)
        w = jnp.ones(m) / m if weights is None else weights / total
        C = jnp.median(per_example.norms(grads))
        bounds = [C / (l + 2) for l in range(L)]
        vectors = jax.tree.map(lambda v: jnp.stack([v, v[::-1]]), V)
        k = model.sizes[-1] - 1
        tail = X, Y, w

        def scaled(tree: Any) -> Any:
            return jax.tree.map(lambda x: x * total, tree)

        second_moment, variance = per_example.second_moment(grads, w), per_example.variance(grads, w)
        clipped = per_example.clipped(grads, w, C)
        diagonal = curvature.gauss_newton_diagonal(model, params, *tail)
        product = functools.partial(curvature.hessian_product, model, params, X, Y, weights)
        pairs = {
            "losses": (
                record.losses,
                jax.vmap(lambda x, y: autodiff.cost(model, params, x[:, None], y[..., None]), (1, -1))(X, Y),
            ),
            "per-example gradients": (bp.per_example_gradients(record), grads),
            "norms": (bp.per_example_norms(record), per_example.norms(grads)),
            "norms by layer": (bp.per_example_layer_norms(record), per_example.layer_norms(grads)),
            "Gram matrix": (bp.gram_matrix(record), per_example.gram_matrix(grads)),
            "clipped": (bp.clipped_gradients(record, C), clipped),
            "clipped, sum": (bp.clipped_gradients(record, C, "sum"), scaled(clipped)),
            "clipped by layer": (bp.clipped_gradients(record, bounds), per_example.clipped(grads, w, bounds)),
            "second moment": (bp.second_moment(record), second_moment),
            "second moment, sum": (bp.second_moment(record, "sum"), scaled(second_moment)),
            "variance": (bp.variance(record), variance),
            "variance, sum": (bp.variance(record, "sum"), scaled(variance)),
            "output's gradient": (bp.output_gradient(record, k), curvature.output_gradient(model, params, X, k, False)),
            "logit's gradient": (
                bp.output_gradient(record, k, before_activation=True),
                curvature.output_gradient(model, params, X, k, True),
            ),
            "Gauss-Newton diagonal": (bp.gauss_newton_diagonal(record), diagonal),
            "Gauss-Newton diagonal, sum": (bp.gauss_newton_diagonal(record, "sum"), scaled(diagonal)),
            "K-FAC": (tuple(map(tuple, bp.kfac_factors(record))), curvature.kfac_factors(model, params, *tail)),
            "K-FAC, empirical": (
                tuple(map(tuple, bp.kfac_factors(record, "empirical"))),
                curvature.kfac_factors(model, params, *tail, fisher="empirical"),
            ),
            "Gauss-Newton product": (
                bp.gauss_newton_product(record, V),
                curvature.gauss_newton_product(model, params, *tail, V),
            ),
            "Hessian product": (bp.hessian_product(record, V), product(V)),
            "Hessian product, two vectors": (bp.hessian_product(record, vectors), jax.vmap(product)(vectors)),
        }
        if m > 1:  # one example has no noise, so neither is defined
            signal = jax.tree.map(lambda g, v: jnp.where(g == 0, 0, g**2 / v), per_example.mean(grads, w), variance)
            pairs["signal to noise"] = bp.signal_to_noise(record), signal
            pairs["noise scale"] = bp.noise_scale(record), per_example.noise_scale(grads, w)
        return pairs

    return program


def errors(problem: Problem, seed: int, weighted: bool) -> dict[str, float]:
    """Return the largest relative error of a leaf, in norm, of every quantity."""
    pairs = quantities(problem, draw(problem, seed), weighted)
    return {name: largest_error(found, true) for name, (found, true) in pairs.items()}


def run(problems: Sequence[Problem]) -> int:
    """Print the worst quantity of each problem, with and without weights, and return the number of failed cases."""
    start, failed, cases, worst = time.perf_counter(), 0, 0, {}
    print(f"{'problem':36s} {'weights':8s} {'error':>9s}  verdict", flush=True)
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        for problem in problems:
            for weighted in (False, True):
                found = [errors(problem, seed, weighted) for seed in SEEDS]
                largest = {name: max(e[name] for e in found) for name in found[0]}
                for name, error in largest.items():
                    worst[name] = max(error, worst.get(name, 0.0))
                bad = [f"{name} {error:.1e}" for name, error in largest.items() if not error <= BOUND]
                row = f"{problem.name:36s} {'yes' if weighted else 'no':8s} {max(largest.values()):9.1e}  "
                print(row + (f"FAILED: {', '.join(bad)}" if bad else "ok"), flush=True)
                failed, cases = failed + bool(bad), cases + 1
    print("\nlargest relative error of each quantity, float64:")
    for name, error in worst.items():
        print(f"  {name:30s} {error:.1e}")
    seconds = time.perf_counter() - start
    print(
        f"{len(worst)} quantities in {cases} cases of {len(SEEDS)} seeds, {failed} cases failed, in {seconds:.0f} s: "
        f"largest error {max(worst.values()):.1e} (bound {BOUND:.0e})"
    )
    return failed
