"""The classifier: one label, of two or more classes, or several yes-or-no labels for each example."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optax
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from manual_bp._activations import Activation
from manual_bp.sklearn import _labels as labels
from manual_bp.sklearn import _outputs as of
from manual_bp.sklearn._base import BaseMLP, partial
from manual_bp.sklearn._losses import CLASSES, LABELS, Loss


class MLPClassifier(ClassifierMixin, BaseMLP):
    """A network for classification, by hand-written backpropagation; scikit-learn's MLPClassifier, and more.

    Parameters, attributes and methods have scikit-learn's names and meaning. In float64 the same random_state gives the
    same initial weights, order of examples and validation split as there, and with adam and sgd the same coefs_ up to
    rounding. Beyond scikit-learn are the parameters marked +, `validation_data` in `fit`, `input_gradient` and
    `hidden_activations`.

    Two classes have one logistic output, more a softmax, and several labels (rows of 0 and 1) a logistic output each. A
    sparse X is written out whole to train on, and block by block to predict.

    Args:
        hidden_layer_sizes: units of each hidden layer; an integer is one layer, () none.
        activation: of the hidden layers: identity, logistic, tanh, relu; + leaky_relu, elu, softplus, silu, gelu, a
            `bp.Activation`, or a sequence with one for each layer.
        solver: "adam", "sgd", "lbfgs", + or an optax optimizer, which has a learning rate of its own. L-BFGS is
            optax's, not SciPy's: the same minimum up to `tol`, not the same steps.
        alpha: the penalty is alpha / 2 |W|^2 over the number of examples of a batch (the sum of their weights).
        batch_size: "auto" is 200, or all examples if they are fewer.
        learning_rate: of sgd: "constant"; "invscaling", learning_rate_init / (t_ + 1)^power_t after each epoch; or
            "adaptive", divided by 5 where training would end, until it is 1e-6.
        learning_rate_init, power_t, beta_1, beta_2, epsilon, momentum, nesterovs_momentum: of adam and sgd. New values
            compile nothing, nor does a new alpha.
        max_iter: epochs, or iterations of L-BFGS; a ConvergenceWarning says that they were not enough.
        shuffle: a new order of the examples in each epoch.
        random_state: of initial weights, order, validation split and dropout.
        tol, n_iter_no_change: training ends after more than n_iter_no_change epochs in a row that did not lower the
            best loss (under early_stopping: raise the best validation score) by tol. L-BFGS ends at a gradient whose
            largest element is tol.
        verbose: prints the loss of each epoch.
        warm_start: fit goes on from coefs_, + and with the optimizer's state, as partial_fit does.
        early_stopping: holds out validation_fraction of the examples, ends where their score no longer rises, and
            returns to the weights of the best epoch. Not for partial_fit.
        validation_fraction: of the examples.
        max_fun: evaluations of the loss by L-BFGS.
        class_weight: + a weight for each label (1 where there is none), or "balanced": n / (classes * n of the class).
            They multiply sample_weight. One label an example only.
        dropout: + the probability with which a hidden unit is absent in training, or one for each hidden layer.
        max_gradient_norm: + a gradient with a larger norm is scaled down to it.
        compute_dtype: + of the products, such as "bfloat16" under float32 parameters.
        dtype: + "float32" or "float64", of everything else; X's own unless given, whatever JAX's default is.
        device: + the platform to run on, "cpu" or "gpu"; JAX's default unless given.
        callbacks: + functions of a `bp.Epoch`, called after each; training ends if one returns True.
        progress: + whether a bar is shown (extra `train`).

    Attributes:
        coefs_, intercepts_: lists of arrays of shape (n_in, n_out) and (n_out,), one for each layer.
        classes_, n_features_in_, feature_names_in_, n_layers_, n_outputs_, out_activation_: of data and network.
        loss_, best_loss_, loss_curve_: the loss with its penalty, the mean over each epoch, before its steps.
        n_iter_, t_: epochs of the last call; examples seen by all.
        validation_scores_, best_validation_score_: accuracies, where there are validation data; else None.
        validation_loss_curve_: + their loss, without penalty.
        history_: + a `bp.History` of all epochs, with gradient norms, learning rates and seconds.

    Raises:
        ValueError, TypeError: a parameter out of its range, examples that do not fit, or a loss or weights that are not
            finite, with the step at which they are.
    """

    def __init__(
        self,
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
        class_weight: Mapping[Any, float] | str | None = None,
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
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> "MLPClassifier":
        """One epoch over the examples, from where the last call ended.

        Args:
            X, y, sample_weight: those of `fit`.
            classes: all labels that will be seen; needed in the first call.
        """
        labels.announce(self, y, classes)
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Any:
        """The labels, shape (n,), or (n, outputs) of 0 and 1 where they are several."""
        A = self._of(of.outputs, X)
        return self._label_binarizer.inverse_transform(A.ravel() if self.n_outputs_ == 1 else A)

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, in the order of `classes_`; of several labels that of each."""
        return self._of(of.probabilities, X, False)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Its logarithm, from the network's logits: finite where the probability rounds to 0."""
        return self._of(of.probabilities, X, True)

    def input_gradient(self, X: Any, output: Any = None) -> np.ndarray:
        """The derivative of a probability by the inputs.

        Args:
            X: shape (n, features).
            output: a label of `classes_`: the derivative is that of its probability.

        Returns:
            Shape (n, features). Without `output` that of the second of two classes, or of all in turn where they are
            more: shape (n, outputs, features).
        """
        check_is_fitted(self)
        if output is None:
            return self._of(of.gradient, X, 0 if self.n_outputs_ == 1 else None)
        where = np.flatnonzero(self.classes_ == output)
        if not len(where):
            raise ValueError(f"output is {output!r}; expected one of {self.classes_.tolist()}")
        k = int(where[0])
        if self.n_outputs_ > 1:
            return self._of(of.gradient, X, k)
        gradient = self._of(of.gradient, X, 0)
        return gradient if k else -gradient

    def _loss(self) -> Loss:
        return CLASSES if self._label_binarizer.y_type_ == "multiclass" else LABELS

    _learn_targets, _encode, _weighted, _score_outputs = labels.learn, labels.encode, labels.weighted, labels.accuracy

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
