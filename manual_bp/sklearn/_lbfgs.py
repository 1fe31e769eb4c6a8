"""The solver of small data: L-BFGS on all examples at once."""

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from manual_bp._network import Network, Params
from manual_bp._training.dataset import Dataset
from manual_bp._training.lbfgs import REASONS, minimizer
from manual_bp._training.objective import objective


def fit_lbfgs(mlp: Any, network: Network, params: Params, data: Dataset) -> Params:
    """Descends until the gradient's largest element is `tol`, or the loss stops falling; sets what is known of it."""
    X, Y, w = data
    minimize = minimizer(objective(network, 0.0, 0.0, mlp.compute_dtype), mlp.max_iter)
    total = len(X) if w is None else float(np.sum(np.asarray(w)))
    found = minimize(params, X.T, Y.T, w, mlp.alpha / total if total else 0.0, float(mlp.tol), int(mlp.max_fun))
    mlp.n_iter_, mlp.loss_ = int(found.iterations), float(found.cost)
    mlp.loss_curve_ = np.asarray(found.costs, np.float64)[: mlp.n_iter_].tolist()
    mlp.best_loss_, mlp.validation_scores_, mlp.best_validation_score_ = mlp.loss_, None, None
    reason = REASONS[int(found.stopped)]
    if mlp.verbose:
        print(f"L-BFGS: {mlp.n_iter_} iterations, {int(found.evaluations)} evaluations, loss = {mlp.loss_:.8f}")
    if reason == "not finite":
        raise ValueError(
            f"the loss is not finite at iteration {mlp.n_iter_}. The input may hold large values: scale it"
        )
    if reason in ("iterations", "evaluations"):
        what = f"max_iter={mlp.max_iter}" if reason == "iterations" else f"max_fun={mlp.max_fun}"
        warnings.warn(f"{what} {reason} were reached before L-BFGS converged", ConvergenceWarning, stacklevel=4)
    return found.params
