"""SciPy's L-BFGS on all examples at once, for small data."""

import functools
import warnings
from typing import Any

import jax
import numpy as np
import scipy.optimize
from jax.flatten_util import ravel_pytree
from jaxtyping import Array
from sklearn.exceptions import ConvergenceWarning

from manual_bp._network import Network, Params
from manual_bp._training.dataset import Dataset
from manual_bp._training.objective import Objective, objective, value_and_grad


def fit_lbfgs(mlp: Any, network: Network, params: Params, data: Dataset) -> Params:
    """Trains until the gradient's largest element is `tol` or the loss stops falling; sets attributes of `mlp`."""
    total = len(data.X) if data.weights is None else float(data.weights.sum())
    X, Y, w = jax.device_put((data.X.T, data.Y.T, data.weights))
    l2 = mlp.alpha / total if total else 0.0
    goal = objective(network, 0.0, 0.0, mlp.compute_dtype)
    leaves, structure = jax.tree.flatten(params)
    # in NumPy, so that one program is compiled
    start = np.concatenate([np.ravel(leaf) for leaf in leaves])
    mlp.loss_curve_ = []

    def cost_and_gradient(vector: np.ndarray) -> tuple[float, np.ndarray]:
        cost, gradient = _cost_and_gradient(goal, vector.astype(start.dtype), params, X, Y, w, l2)
        return float(cost), np.asarray(gradient, np.float64)

    def record(intermediate_result: scipy.optimize.OptimizeResult) -> None:
        mlp.loss_curve_.append(intermediate_result.fun)

    # SciPy's default ftol of 1e7 eps, but no less than float32 can tell apart
    ftol = max(1e7 * np.finfo(np.float64).eps, 4 * float(np.finfo(start.dtype).eps))
    limits = {"maxiter": mlp.max_iter, "maxfun": mlp.max_fun, "gtol": mlp.tol, "ftol": ftol}
    found = scipy.optimize.minimize(
        cost_and_gradient, start.astype(np.float64), jac=True, method="L-BFGS-B", options=limits, callback=record
    )
    mlp.n_iter_ = found.nit
    # found.fun may be that of a last point that the line search gave up
    mlp.loss_ = mlp.loss_curve_[-1] if mlp.loss_curve_ else found.fun
    mlp.best_loss_, mlp.validation_scores_, mlp.best_validation_score_ = mlp.loss_, None, None
    if mlp.verbose:
        print(f"L-BFGS: {found.nit} iterations, {found.nfev} evaluations, loss = {mlp.loss_:.8f}")
    if not np.isfinite(mlp.loss_):
        raise ValueError(f"the loss is not finite at iteration {found.nit}. The input may hold large values: scale it")
    if found.status == 1:
        used_up = found.nit >= mlp.max_iter
        limit = f"max_iter={mlp.max_iter} iterations" if used_up else f"max_fun={mlp.max_fun} evaluations"
        warnings.warn(f"{limit} were reached before L-BFGS converged", ConvergenceWarning, stacklevel=4)
    elif found.status:
        warnings.warn(f"L-BFGS ended before it converged: {found.message}", ConvergenceWarning, stacklevel=4)
    parts = np.split(found.x.astype(start.dtype), np.cumsum([leaf.size for leaf in leaves])[:-1])
    return jax.tree.unflatten(structure, [p.reshape(leaf.shape) for p, leaf in zip(parts, leaves, strict=True)])


@functools.partial(jax.jit, static_argnames="goal")
def _cost_and_gradient(
    goal: Objective, vector: Array, params: Params, X: Array, Y: Array, w: Array | None, l2: Array
) -> tuple[Array, Array]:
    """The objective at a vector of parameters, which are arranged as `params` are, and its gradient as a vector."""
    layers = ravel_pytree(params)[1](vector)
    # without dropout the key is not used
    cost, gradient = value_and_grad(goal.with_l2(l2), layers, X, Y, w, jax.random.key(0))
    return cost, ravel_pytree(gradient)[0]
