"""scikit-learn's rule for the end of training, and the learning rate of its epochs."""

from typing import Any

import numpy as np


def begin_call(mlp: Any, validated: bool) -> None:
    """Sets the attributes with which a call of fit or partial_fit starts."""
    mlp.n_iter_ = 0
    mlp.loss_curve_ = mlp.history_.cost
    mlp.validation_loss_curve_ = mlp.history_.validation_cost if validated else None
    mlp.validation_scores_ = mlp.history_.validation_metric if validated else None
    mlp.best_loss_ = None if mlp.early_stopping else _or(mlp.best_loss_, np.inf)
    mlp.best_validation_score_ = _or(mlp.best_validation_score_, -np.inf) if validated else None


def count_epoch(mlp: Any, examples: int) -> bool:
    """Counts an epoch and updates the best loss and score; returns whether it is the best epoch so far."""
    mlp.n_iter_ += 1
    mlp.t_ += examples
    mlp.loss_ = mlp.loss_curve_[-1]
    if mlp.verbose:
        print(f"Iteration {mlp.n_iter_}, loss = {mlp.loss_:.8f}")
    stalled = better = False
    if mlp.validation_scores_ is not None:
        score = mlp.validation_scores_[-1]
        if mlp.verbose:
            print(f"Validation score: {score:f}")
        stalled, better = score < mlp.best_validation_score_ + mlp.tol, score > mlp.best_validation_score_
        mlp.best_validation_score_ = score if better else mlp.best_validation_score_
    if not mlp.early_stopping:
        stalled, better = mlp.loss_ > mlp.best_loss_ - mlp.tol, mlp.loss_ < mlp.best_loss_
        mlp.best_loss_ = min(mlp.loss_, mlp.best_loss_)
    mlp._no_improvement_count = mlp._no_improvement_count + 1 if stalled else 0
    return better


def next_rate(mlp: Any, rate: float | None) -> tuple[float | None, bool]:
    """Returns the next learning rate, None if the solver has its own, and whether training has converged."""
    rate = scheduled_rate(mlp, rate)
    if mlp._no_improvement_count <= mlp.n_iter_no_change:
        return rate, False
    lower = rate / 5 if rate is not None and _schedule(mlp) == "adaptive" and rate > 1e-6 else None
    if mlp.verbose:
        watched = "Validation score" if mlp.early_stopping else "Training loss"
        then = "Stopping." if lower is None else f"Setting learning rate to {lower:f}"
        print(f"{watched} did not improve by tol={mlp.tol:f} for {mlp.n_iter_no_change} epochs. {then}")
    if lower is None:
        return rate, True
    mlp._no_improvement_count = 0
    return lower, False


def scheduled_rate(mlp: Any, rate: Any) -> Any:
    """Returns the learning rate after the examples seen so far; only "invscaling" changes it."""
    if _schedule(mlp) != "invscaling":
        return rate
    return mlp.learning_rate_init / (mlp.t_ + 1) ** mlp.power_t


def rate_to_resume(mlp: Any, optimizer_state: Any) -> dict[str, float]:
    """Returns the learning rate with which another partial_fit continues, if it is not that of the parameters."""
    if _schedule(mlp) != "adaptive":
        return {}
    return {"learning_rate": float(optimizer_state.hyperparams["learning_rate"])}


def _schedule(mlp: Any) -> str:
    return mlp.learning_rate if mlp.solver == "sgd" else "constant"


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
