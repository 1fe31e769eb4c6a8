"""The part that both estimators share: parameters, fit from the user's arrays to coefs_, and outputs."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import optax
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data

from manual_bp._activations import Activation
from manual_bp._checks import arguments
from manual_bp._network import Network
from manual_bp._training.dataset import Dataset
from manual_bp._training.history import History
from manual_bp.sklearn import _outputs as outputs
from manual_bp.sklearn._lbfgs import fit_lbfgs
from manual_bp.sklearn._parameters import check_parameters, hidden_layers, is_lbfgs
from manual_bp.sklearn._stochastic import fit_stochastic, hold_out
from manual_bp.sklearn._weights import draw_weights, layers_of, weights_of

SPARSE = ("csr", "csc")


# the dataclass writes the __init__ with an explicit signature that scikit-learn asks for
@dataclasses.dataclass(eq=False, repr=False)
class BaseMLP(BaseEstimator):
    """A network with scikit-learn's interface.

    A subclass defines what targets are: `_loss`, `_learn_targets`, `_encode`, `_score_outputs` and `_weighted`.
    """

    hidden_layer_sizes: int | Sequence[int] = (100,)
    activation: str | Activation | Sequence[str | Activation] = "relu"
    _: dataclasses.KW_ONLY
    solver: str | optax.GradientTransformation = "adam"
    alpha: float = 0.0001
    batch_size: int | str = "auto"
    learning_rate: str = "constant"
    learning_rate_init: float = 0.001
    power_t: float = 0.5
    max_iter: int = 200
    shuffle: bool = True
    random_state: int | np.random.RandomState | None = None
    tol: float = 1e-4
    verbose: bool = False
    warm_start: bool = False
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    early_stopping: bool = False
    validation_fraction: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    n_iter_no_change: int | float = 10
    max_fun: int = 15000
    dropout: float | Sequence[float] = 0.0
    max_gradient_norm: float | None = None
    compute_dtype: Any = None
    dtype: Any = None
    device: str | None = None
    callbacks: Sequence[Callable] | None = None
    progress: bool = False

    if TYPE_CHECKING:  # the attributes that fit sets

        def __getattr__(self, name: str) -> Any: ...

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, validation_data: tuple | None = None) -> Any:
        """Trains on examples in rows.

        Args:
            X: inputs, shape (n, features), dense or sparse.
            y: targets, shape (n,) or (n, outputs).
            sample_weight: weights, shape (n,), non-negative.
            validation_data: (X, y) or (X, y, sample_weight), evaluated after each epoch. The results are in
                `validation_loss_curve_` and `validation_scores_`, and early_stopping watches them instead of holding
                out a part of X.
        """
        return self._fit(X, y, sample_weight, validation_data)

    def _fit(self, X: Any, y: Any, sample_weight: Any, validation_data: Any = None, incremental: bool = False) -> Any:
        check_parameters(self)
        if incremental and self.early_stopping:
            raise ValueError("early_stopping is True, but partial_fit is a single epoch; use fit, or pass False")
        if validation_data is not None and is_lbfgs(self):
            raise ValueError("validation_data is given, but solver 'lbfgs' has no epochs; use adam or sgd")
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        dtype = self.dtype if first else self.coefs_[0].dtype
        dtype = (np.float64, np.float32) if dtype is None else dtype
        X, y = self._checked(X, y, dtype, first)
        dtype = X.dtype
        self._learn_targets(y, first, incremental)
        data = self._dataset(X, y, sample_weight)
        data = data._replace(weights=self._weighted(data, incremental))
        network = self._network_for(data, first)
        rng = check_random_state(self.random_state)
        if first:
            coefs, intercepts = draw_weights(network.sizes, network.hidden, rng, dtype)
            self._optimizer_state = self.best_loss_ = self.best_validation_score_ = None
            self.history_, self.t_, self._steps, self._no_improvement_count = History(), 0, 0, 0
        else:
            coefs, intercepts = self.coefs_, self.intercepts_
        validation = None
        if validation_data is not None:
            if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
                kind = arguments.a_kind(validation_data)
                raise TypeError(f"validation_data is {kind}; expected (X, y) or (X, y, sample_weight)")
            X_val, y_val, *weight_val = validation_data
            validation = self._dataset(*self._checked(X_val, y_val, dtype, False), *weight_val)
        if self.early_stopping and validation is None and not is_lbfgs(self):
            # as in scikit-learn: stratified unless there are several outputs
            strata = y if is_classifier(self) and network.sizes[-1] == 1 else None
            data, validation = hold_out(data, self.validation_fraction, strata, rng)
        with self._computing(dtype):
            params = layers_of(coefs, intercepts)
            if is_lbfgs(self):
                params = fit_lbfgs(self, network, params, data)
            else:
                data, validation = jax.device_put((data, validation))
                params = fit_stochastic(self, network, params, data, validation, rng, incremental)
            coefs, intercepts = weights_of(params)
        if not all(np.isfinite(w).all() for w in (*coefs, *intercepts)):
            raise ValueError(
                f"the last step of epoch {self.n_iter_} led to weights that are not finite. The input may hold large "
                "values: scale it, or try a lower learning_rate_init or a max_gradient_norm"
            )
        self.coefs_, self.intercepts_, self._network = coefs, intercepts, network
        self.n_layers_, self.n_outputs_ = len(network.sizes), network.sizes[-1]
        self.out_activation_ = self._loss().out_activation
        return self

    def _checked(self, X: Any, y: Any, dtype: Any, reset: bool) -> tuple[Any, np.ndarray]:
        form = {"accept_sparse": SPARSE, "multi_output": True, "y_numeric": is_regressor(self)}
        X, y = validate_data(self, X, y, dtype=dtype, reset=reset, **form)
        return X, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def _dataset(self, X: Any, y: np.ndarray, sample_weight: Any = None) -> Dataset:
        """Returns the examples with encoded targets. A sparse X becomes dense, as training holds it on the device."""
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=X.dtype, ensure_non_negative=True)
        return Dataset(X.toarray() if hasattr(X, "toarray") else X, self._encode(y, X.dtype), sample_weight)

    def _network_for(self, data: Dataset, first: bool) -> Network:
        sizes, activations = hidden_layers(self)
        loss = self._loss()
        n_outputs = data.Y.shape[1] if data.Y.ndim == 2 else len(self.classes_)
        network = Network((data.X.shape[1], *sizes, n_outputs), activations, loss.output, loss.cost)
        if not first and network.sizes != self._network.sizes:
            raise ValueError(f"the fitted network has sizes {self._network.sizes}, but the new one {network.sizes}")
        return network

    @contextlib.contextmanager
    def _computing(self, dtype: Any) -> Iterator[None]:
        """Computes on the chosen device, with 64 bits enabled for float64."""
        try:
            device = None if self.device is None else jax.devices(self.device)[0]
        except RuntimeError as error:
            raise ValueError(f"device is {self.device!r}; expected a platform that JAX has here: {error}") from None
        with jax.enable_x64(np.dtype(dtype) == np.float64):
            with contextlib.nullcontext() if device is None else jax.default_device(device):
                yield

    def _apply(self, function: Any, X: Any, *args: Any) -> Any:
        """Applies a function of network, params, X in columns and args to the rows of the user's X."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse=SPARSE, reset=False)
        dtype = self.coefs_[0].dtype
        with self._computing(dtype):
            params = layers_of(self.coefs_, self.intercepts_)
            return outputs.in_blocks(lambda X: function(self._network, params, X, *args), X, dtype)

    def hidden_activations(self, X: Any) -> list[np.ndarray]:
        """Returns the outputs of the hidden layers, first to last, with shapes (n, units)."""
        return self._apply(outputs.hidden_activations, X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def has_partial_fit(mlp: BaseMLP) -> bool:
    """Returns whether the solver has epochs; raises an AttributeError with the reason if not."""
    if is_lbfgs(mlp):
        raise AttributeError("solver 'lbfgs' has no partial_fit, as it has no epochs; use adam or sgd")
    return True


with_minibatches = available_if(has_partial_fit)
