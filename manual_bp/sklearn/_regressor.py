"""The regressor: one number or several for each example."""

import dataclasses
import operator
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from manual_bp._costs import Cost
from manual_bp._forward import predict
from manual_bp.sklearn import _outputs as outputs
from manual_bp.sklearn._base import BaseMLP, with_minibatches
from manual_bp.sklearn._losses import REGRESSION, Loss
from manual_bp.sklearn._parameters import one_of


@dataclasses.dataclass(eq=False, repr=False)
class _FirstParameter:
    # a dataclass takes the fields of its last base first
    loss: str | Cost = "squared_error"


@dataclasses.dataclass(eq=False, repr=False)
class MLPRegressor(RegressorMixin, BaseMLP, _FirstParameter):
    """A network for regression by hand-written backpropagation: scikit-learn's MLPRegressor, and more.

    The documentation of `MLPClassifier` holds here too, except that there are no classes and no `class_weight`, and
    `validation_scores_` are R^2.

    Example:
        >>> from manual_bp.sklearn import MLPRegressor
        >>> X = np.linspace(-1, 1, 50)[:, None]
        >>> mlp = MLPRegressor(hidden_layer_sizes=(16,), solver="lbfgs", tol=1e-3, random_state=0)
        >>> bool(mlp.fit(X, X[:, 0] ** 2).score(X, X[:, 0] ** 2) > 0.95)
        True

    Args:
        loss: as in scikit-learn "squared_error", half of it, or "poisson", half the deviance, with an exponential
            output. New are "absolute_error", "huber" (e^2/2 if |e| <= 1, else |e| - 1/2: scale y), and a `bp.Cost` on
            an identity output. With several outputs the loss is the sum. (scikit-learn reports the mean of the squared
            errors but descends the gradient of their sum. So with several outputs `loss_` differs, as do the epoch at
            which `tol` ends training and the steps of "lbfgs", whose line search compares losses.)
    """

    @with_minibatches
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> "MLPRegressor":
        """Trains for one epoch over the examples, continuing from the last call; arguments as in `fit`."""
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> np.ndarray:
        """Returns the outputs, shape (n,), or (n, outputs) if there are several."""
        A = self._apply(predict, X)
        return A.ravel() if self.n_outputs_ == 1 else A

    def input_gradient(self, X: Any, output: int | None = None) -> np.ndarray:
        """Returns the derivative of an output by the inputs.

        Args:
            X: inputs, shape (n, features).
            output: the index of the output; all outputs unless given.

        Returns:
            Shape (n, features), or (n, outputs, features) for several outputs.
        """
        check_is_fitted(self)
        if output is not None and not 0 <= operator.index(output) < self.n_outputs_:
            raise ValueError(f"output is {output}; expected 0 to {self.n_outputs_ - 1}")
        return self._apply(outputs.input_gradients, X, 0 if self.n_outputs_ == 1 else output)

    def _loss(self) -> Loss:
        if not isinstance(self.loss, str | Cost):
            raise TypeError(
                f"loss is {self.loss!r}; expected one of {', '.join(REGRESSION)}, or a bp.Cost. Here loss is the first "
                "argument; hidden_layer_sizes, the first argument of MLPClassifier, is the second"
            )
        if isinstance(self.loss, Cost):
            return Loss(self.loss, "identity", "identity")
        one_of("loss", self.loss, REGRESSION, ", or a bp.Cost")
        return REGRESSION[self.loss]

    def _learn_targets(self, y: np.ndarray, first: bool, incremental: bool) -> None: ...

    def _encode(self, y: np.ndarray, dtype: Any) -> np.ndarray:
        if isinstance(self.loss, str) and self.loss == "poisson" and np.any(y < 0):
            raise ValueError("loss is 'poisson', but y has values below 0; expected non-negative counts or rates")
        return np.asarray(y, dtype).reshape(len(y), -1)

    def _weighted(self, data: Any, incremental: bool) -> np.ndarray | None:
        return data.weights

    def _score_outputs(self, A: np.ndarray, Y: np.ndarray, w: np.ndarray | None) -> float:
        return r2_score(Y, A.T, sample_weight=w)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = isinstance(self.loss, str) and self.loss == "poisson"
        return tags
