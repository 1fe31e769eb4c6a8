"""The regressor: one number or several for each example."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optax
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from manual_bp._activations import Activation
from manual_bp._costs import Cost
from manual_bp.sklearn import _outputs as of
from manual_bp.sklearn._base import BaseMLP, partial
from manual_bp.sklearn._losses import REGRESSION, Loss
from manual_bp.sklearn._parameters import one_of


class MLPRegressor(RegressorMixin, BaseMLP):
    """A network for regression, by hand-written backpropagation; scikit-learn's MLPRegressor, and more.

    What is said of `MLPClassifier` holds here too, with these differences.

    Args:
        loss: "squared_error", half of it, or "poisson", half the deviance with an exponential output, as scikit-learn
            has them. Beyond it: "absolute_error", "huber" (e^2/2 up to |e| = 1, |e| - 1/2 from there on: scale y), or a
            `bp.Cost`, on an identity output. Of several outputs the loss is the sum. (scikit-learn reports the mean of
            the squared errors and descends the gradient of their sum, so there coefs_ are the same, but `loss_`, and
            with it where `tol` ends training, is not.)

    There are no classes and no `class_weight`; `validation_scores_` are R^2.
    """

    def __init__(
        self,
        loss: str | Cost = "squared_error",
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Activation | Sequence[str | Activation] = "relu",
        *,
        solver: str | optax.GradientTransformation = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int | float = 10,
        max_fun: int = 15000,
        dropout: float | Sequence[float] = 0.0,
        max_gradient_norm: float | None = None,
        compute_dtype: Any = None,
        dtype: Any = None,
        device: str | None = None,
        callbacks: Sequence[Callable] | None = None,
        progress: bool = False,
    ) -> None:
        vars(self).update({name: value for name, value in locals().items() if name != "self"})

    @partial
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> "MLPRegressor":
        """One epoch over the examples, from where the last call ended; the arguments are those of `fit`."""
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> np.ndarray:
        """Shape (n,), or (n, outputs) where they are several."""
        A = self._of(of.outputs, X)
        return A.ravel() if self.n_outputs_ == 1 else A

    def input_gradient(self, X: Any, output: int | None = None) -> np.ndarray:
        """The derivative of an output by the inputs.

        Args:
            X: shape (n, features).
            output: its index. Without it, all in turn.

        Returns:
            Shape (n, features), or (n, outputs, features) for several.
        """
        check_is_fitted(self)
        if output is not None and not 0 <= operator.index(output) < self.n_outputs_:
            raise ValueError(f"output is {output}; expected 0 to {self.n_outputs_ - 1}")
        return self._of(of.gradient, X, 0 if self.n_outputs_ == 1 else output)

    def _loss(self) -> Loss:
        if not isinstance(self.loss, str | Cost):
            raise TypeError(
                f"loss is {self.loss!r}; expected one of {', '.join(REGRESSION)}, or a bp.Cost: hidden_layer_sizes, "
                "which is the first argument of MLPClassifier, is the second here"
            )
        if isinstance(self.loss, Cost):
            return Loss(self.loss, "identity", "identity")
        one_of("loss", self.loss, REGRESSION)
        return REGRESSION[self.loss]

    def _learn_targets(self, y: np.ndarray, first: bool, incremental: bool) -> None: ...

    def _encode(self, y: np.ndarray, dtype: Any) -> np.ndarray:
        if isinstance(self.loss, str) and self.loss == "poisson" and np.any(y < 0):
            raise ValueError("loss is 'poisson', and y has values below 0; expected counts or rates, from 0 on")
        return np.asarray(y, dtype).reshape(len(y), -1)

    def _weighted(self, data: Any, incremental: bool) -> np.ndarray | None:
        return data.weights

    def _score_outputs(self, A: np.ndarray, Y: np.ndarray, w: np.ndarray | None) -> float:
        return r2_score(Y, A.T, sample_weight=w)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = isinstance(self.loss, str) and self.loss == "poisson"
        return tags
