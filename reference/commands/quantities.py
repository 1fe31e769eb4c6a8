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
    by_hand, by_autodiff = _program(problem)(params, jnp.asarray(data.X), jnp.asarray(data.Y), weights, V)
    return {name: (by_hand[name], by_autodiff[name]) for name in by_hand}


@functools.cache
def _program(problem: Problem) -> Any:
    model = problem.model
    network, L = bp.Network(*model), len(problem.model.sizes) - 1

    @jax.jit
    def program(params: Any, X: Any, Y: Any, weights: Any, V: Any) -> tuple[dict, dict]:
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

        by_hand = {
            "losses": record.losses,
            "per-example gradients": bp.per_example_gradients(record),
            "norms": bp.per_example_norms(record),
            "norms by layer": bp.per_example_layer_norms(record),
            "Gram matrix": bp.gram_matrix(record),
            "clipped": bp.clipped_gradients(record, C),
            "clipped, sum": bp.clipped_gradients(record, C, "sum"),
            "clipped by layer": bp.clipped_gradients(record, bounds),
            "second moment": bp.second_moment(record),
            "second moment, sum": bp.second_moment(record, "sum"),
            "variance": bp.variance(record),
            "variance, sum": bp.variance(record, "sum"),
            "output's gradient": bp.output_gradient(record, k),
            "logit's gradient": bp.output_gradient(record, k, before_activation=True),
            "Gauss-Newton diagonal": bp.gauss_newton_diagonal(record),
            "Gauss-Newton diagonal, sum": bp.gauss_newton_diagonal(record, "sum"),
            "K-FAC": tuple(map(tuple, bp.kfac_factors(record))),
            "K-FAC, empirical": tuple(map(tuple, bp.kfac_factors(record, "empirical"))),
            "Gauss-Newton product": bp.gauss_newton_product(record, V),
            "Hessian product": bp.hessian_product(record, V),
            "Hessian product, two vectors": bp.hessian_product(record, vectors),
        }
        second_moment, variance = per_example.second_moment(grads, w), per_example.variance(grads, w)
        clipped = per_example.clipped(grads, w, C)
        diagonal = curvature.gauss_newton_diagonal(model, params, *tail)
        product = functools.partial(curvature.hessian_product, model, params, X, Y, weights)
        by_autodiff = {
            "losses": jax.vmap(lambda x, y: autodiff.cost(model, params, x[:, None], y[..., None]), (1, -1))(X, Y),
            "per-example gradients": grads,
            "norms": per_example.norms(grads),
            "norms by layer": per_example.layer_norms(grads),
            "Gram matrix": per_example.gram_matrix(grads),
            "clipped": clipped,
            "clipped, sum": scaled(clipped),
            "clipped by layer": per_example.clipped(grads, w, bounds),
            "second moment": second_moment,
            "second moment, sum": scaled(second_moment),
            "variance": variance,
            "variance, sum": scaled(variance),
            "output's gradient": curvature.output_gradient(model, params, X, k, False),
            "logit's gradient": curvature.output_gradient(model, params, X, k, True),
            "Gauss-Newton diagonal": diagonal,
            "Gauss-Newton diagonal, sum": scaled(diagonal),
            "K-FAC": curvature.kfac_factors(model, params, *tail),
            "K-FAC, empirical": curvature.kfac_factors(model, params, *tail, fisher="empirical"),
            "Gauss-Newton product": curvature.gauss_newton_product(model, params, *tail, V),
            "Hessian product": product(V),
            "Hessian product, two vectors": jax.vmap(product)(vectors),
        }
        if m > 1:  # one example has no noise, so neither is defined
            by_hand |= {"signal to noise": bp.signal_to_noise(record), "noise scale": bp.noise_scale(record)}
            by_autodiff |= {
                "signal to noise": jax.tree.map(
                    lambda g, v: jnp.where(g == 0, 0, g**2 / v), per_example.mean(grads, w), variance
                ),
                "noise scale": per_example.noise_scale(grads, w),
            }
        return by_hand, by_autodiff

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
