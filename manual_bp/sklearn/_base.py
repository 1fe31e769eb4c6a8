"""What the two estimators share: fit, from the user's arrays to coefs_, and what a fitted network says."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from manual_bp._network import Network
from manual_bp._training.dataset import Dataset
from manual_bp._training.history import History
from manual_bp.sklearn import _examples as examples
from manual_bp.sklearn import _outputs as of
from manual_bp.sklearn._lbfgs import fit_lbfgs
from manual_bp.sklearn._parameters import check, hidden_layers, is_lbfgs
from manual_bp.sklearn._stochastic import fit_stochastic
from manual_bp.sklearn._weights import draw, layers, weights


class BaseMLP(BaseEstimator):
    """A network with scikit-learn's interface.

    A subclass says what targets are: `_loss`, `_learn_targets`, `_encode`, `_score_outputs`, and `_weighted`.
    """

    if TYPE_CHECKING:  # the parameters, and what fit sets

        def __getattr__(self, name: str) -> Any: ...

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, validation_data: tuple | None = None) -> Any:
        """Trains on examples in rows.

        Args:
            X: shape (n, features), dense or sparse.
            y: the targets, shape (n,) or (n, outputs).
            sample_weight: shape (n,), from 0 on.
            validation_data: (X, y) or (X, y, sample_weight), evaluated after each epoch: they give
                `validation_loss_curve_` and `validation_scores_`, and are what early_stopping watches instead of a
                part of X.
        """
        return self._fit(X, y, sample_weight, validation_data)

    def _fit(self, X: Any, y: Any, sample_weight: Any, validation_data: Any = None, incremental: bool = False) -> Any:
        check(self)
        if incremental and self.early_stopping:
            raise ValueError("early_stopping is True, and partial_fit is one epoch; expected fit, or False")
        if validation_data is not None and is_lbfgs(self):
            raise ValueError("validation_data is given, and solver is 'lbfgs'; expected a solver of minibatches")
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        dtype = self.dtype if first else self.coefs_[0].dtype
        dtype = (np.float64, np.float32) if dtype is None else dtype
        form = {"accept_sparse": examples.SPARSE, "multi_output": True, "y_numeric": is_regressor(self)}
        X, y = validate_data(self, X, y, dtype=dtype, reset=first, **form)
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        self._learn_targets(y, first, incremental)
        data = examples.of(X, self._encode(y, X.dtype), sample_weight)
        data = data._replace(weights=self._weighted(data, incremental))
        network = self._network_for(data, first)
        rng = check_random_state(self.random_state)
        if first:
            coefs, intercepts = draw(network.sizes, network.hidden, rng, X.dtype)
            self._optimizer_state = self.best_loss_ = self.best_validation_score_ = None
            self.history_, self.t_, self._steps, self._no_improvement_count = History(), 0, 0, 0
        else:
            coefs, intercepts = self.coefs_, self.intercepts_
        validation = examples.validation(self, validation_data, X.dtype)
        if self.early_stopping and validation is None and not is_lbfgs(self):
            # as scikit-learn stratifies: classes in several outputs are not
            strata = y if is_classifier(self) and network.sizes[-1] == 1 else None
            data, validation = examples.split(data, self.validation_fraction, strata, rng)
        with self._computing(X.dtype):
            params, data = layers(coefs, intercepts), jax.device_put(data)
            if is_lbfgs(self):
                params = fit_lbfgs(self, network, params, data)
            else:
                params = fit_stochastic(self, network, params, data, jax.device_put(validation), rng, incremental)
            coefs, intercepts = weights(params)
        if not all(np.isfinite(w).all() for w in (*coefs, *intercepts)):
            raise ValueError(
                f"the last step of epoch {self.n_iter_} led to weights that are not finite. The input may hold large "
                "values: scale it, or try a lower learning_rate_init or a max_gradient_norm"
            )
        self.coefs_, self.intercepts_, self._network = coefs, intercepts, network
        self.n_layers_, self.n_outputs_ = len(network.sizes), network.sizes[-1]
        self.out_activation_ = self._loss().out_activation
        return self

    def _network_for(self, data: Dataset, first: bool) -> Network:
        sizes, activations = hidden_layers(self)
        loss = self._loss()
        n_outputs = data.Y.shape[1] if data.Y.ndim == 2 else len(self.classes_)
        network = Network((data.X.shape[1], *sizes, n_outputs), activations, loss.output, loss.cost)
        if not first and network.sizes != self._network.sizes:
            raise ValueError(f"the network has sizes {self._network.sizes}, and is to have {network.sizes} now")
        return network

    @contextlib.contextmanager
    def _computing(self, dtype: Any) -> Iterator[None]:
        """On the device that is asked for, with float64 where the dtype is."""
        try:
            device = None if self.device is None else jax.devices(self.device)[0]
        except RuntimeError as error:
            raise ValueError(f"device is {self.device!r}; expected a platform that JAX has here: {error}") from None
        with jax.enable_x64(np.dtype(dtype) == np.float64):
            with contextlib.nullcontext() if device is None else jax.default_device(device):
                yield

    def _of(self, function: Any, X: Any, *args: Any) -> Any:
        """What one of `_outputs` gives for the user's X."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse=examples.SPARSE, reset=False)
        dtype = self.coefs_[0].dtype
        with self._computing(dtype):
            return function(self._network, layers(self.coefs_, self.intercepts_), X, dtype, *args)

    def hidden_activations(self, X: Any) -> list[np.ndarray]:
        """What the hidden layers give, first to last: shapes (n, units)."""
        return self._of(of.hidden, X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def of_minibatches(mlp: BaseMLP) -> bool:
    """Whether the estimator has partial_fit."""
    if is_lbfgs(mlp):
        raise AttributeError("partial_fit is for solvers of minibatches, and solver is 'lbfgs'")
    return True


partial = available_if(of_minibatches)
