"""The classifier: one label out of two or more classes, or several yes-or-no labels, for each example."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from manual_bp._forward import predict
from manual_bp.sklearn import _labels as labels
from manual_bp.sklearn import _outputs as outputs
from manual_bp.sklearn._base import BaseMLP, with_minibatches
from manual_bp.sklearn._losses import CLASSES, LABELS, Loss


@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class MLPClassifier(ClassifierMixin, BaseMLP):
    """A network for classification by hand-written backpropagation: scikit-learn's MLPClassifier, and more.

    Parameters, attributes and methods have the names and meaning of scikit-learn's. In float64 the same random_state
    gives the same initial weights, order of examples and validation split, and the same coefs_ up to rounding, with
    adam, sgd and lbfgs. New are the parameters marked +, `validation_data` in `fit`, `input_gradient` and
    `hidden_activations`.

    Two classes have one logistic output, more classes a softmax, and several labels (rows of 0 and 1) a logistic output
    each. A sparse X becomes dense as a whole for training, and block by block for prediction.

    Example:
        >>> from manual_bp.sklearn import MLPClassifier
        >>> X, y = np.tile(np.eye(3), (10, 1)), np.tile(["red", "green", "blue"], 10)
        >>> mlp = MLPClassifier((16,), learning_rate_init=0.1, max_iter=50, random_state=0).fit(X, y)
        >>> mlp.predict(X[:3]).tolist(), mlp.predict_proba(X).shape
        (['red', 'green', 'blue'], (30, 3))

    Args:
        hidden_layer_sizes: the units of each hidden layer. An integer is one layer, () none.
        activation: the hidden layers' activation: identity, logistic, tanh, relu; + leaky_relu, elu, softplus, silu,
            gelu, a `bp.Activation`, or a sequence with one for each layer.
        solver: "adam", "sgd", "lbfgs" (SciPy's), + or an optax optimizer, which has its own learning rate.
        alpha: the factor of the penalty alpha / 2 |W|^2, divided by the number of examples (sum of weights) in a batch.
        batch_size: the number of examples in a batch. "auto" is 200, or all examples if there are fewer.
        learning_rate: the schedule of sgd: "constant"; "invscaling", learning_rate_init / (t_ + 1)^power_t after each
            epoch; or "adaptive", divided by 5 each time that training would end, until it is 1e-6.
        learning_rate_init, power_t, beta_1, beta_2, epsilon, momentum, nesterovs_momentum: numbers of adam and sgd.
            Like alpha, new values compile nothing.
        max_iter: the most epochs, or iterations of L-BFGS. A ConvergenceWarning says if they were not enough.
        shuffle: whether each epoch has a new order of the examples.
        random_state: the source of initial weights, order, validation split and dropout.
        tol, n_iter_no_change: training ends after more than n_iter_no_change epochs in a row that did not lower the
            best loss by tol or, under early_stopping, did not raise the best validation score by tol. L-BFGS ends if
            the largest element of the gradient is at most tol.
        verbose: whether the loss of each epoch is printed.
        warm_start: whether fit continues from coefs_, + and with the optimizer's state, as partial_fit does.
        early_stopping: whether to hold out validation_fraction of the examples, end when their score no longer rises,
            and return the weights of the best epoch. Not for partial_fit.
        validation_fraction: the fraction of the examples held out.
        max_fun: the most evaluations of the loss by L-BFGS.
        class_weight: + a dict of weights by label (1 for others), or "balanced": n / (K n_c) for class c, with K
            classes and n_c of the n examples in it (sums of weights, if given). They multiply sample_weight. Not for
            several labels.
        dropout: + the probability with which a hidden unit is absent in training, or one for each hidden layer.
        max_gradient_norm: + the norm to which a larger gradient is scaled down.
        compute_dtype: + the dtype of the products, such as "bfloat16" with float32 parameters.
        dtype: + "float32" or "float64", the dtype of parameters and results; that of X by default, whatever JAX's is.
        device: + the platform to run on, "cpu" or "gpu"; JAX's default unless given.
        callbacks: + functions of a `bp.Epoch`, called after each epoch; training ends if one returns True.
        progress: + whether a progress bar is shown (extra `train`).

    Attributes:
        coefs_, intercepts_: lists of arrays of shape (n_in, n_out) and (n_out,), one for each layer.
        classes_, n_features_in_, feature_names_in_, n_layers_, n_outputs_, out_activation_: facts of data and network.
        loss_, best_loss_, loss_curve_: the loss of the last epoch, the lowest, and that of each, with the penalty. An
            epoch's loss is the mean over its batches, each before its step.
        n_iter_, t_: the epochs of the last call; the examples seen by all calls.
        validation_scores_, best_validation_score_: accuracies on the validation data; None without.
        validation_loss_curve_: + the loss on the validation data, without penalty.
        history_: + a `bp.History` of all epochs, with gradient norms, learning rates and seconds.

    Raises:
        ValueError, TypeError: a parameter out of its range, examples that do not fit, or a loss or weights that are not
            finite, with the step that led to them.
    """

    class_weight: Mapping[Any, float] | str | None = None

    @with_minibatches
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> "MLPClassifier":
        """Trains for one epoch over the examples, continuing from the last call.

        Args:
            X, y, sample_weight: as in `fit`.
            classes: all labels that there will be; needed in the first call.
        """
        labels.announce_classes(self, y, classes)
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Any:
        """Returns the labels, shape (n,), or (n, outputs) of 0 and 1 if there are several for each example."""
        A = self._apply(predict, X)
        return self._label_binarizer.inverse_transform(A.ravel() if self.n_outputs_ == 1 else A)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Returns the probability of each class, in the order of `classes_`, or of each of several labels."""
        return self._apply(outputs.probabilities, X, False)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Returns the logarithm of the probabilities, from the logits: finite even if a probability rounds to 0."""
        return self._apply(outputs.probabilities, X, True)

    def input_gradient(self, X: Any, output: Any = None) -> np.ndarray:
        """Returns the derivative of a probability by the inputs.

        Args:
            X: inputs, shape (n, features).
            output: the label in `classes_` whose probability to differentiate.

        Returns:
            Shape (n, features). Without `output`, the derivative for the second of two classes, or for each of more
            classes: shape (n, outputs, features).
        """
        check_is_fitted(self)
        if output is None:
            return self._apply(outputs.input_gradients, X, 0 if self.n_outputs_ == 1 else None)
        where = np.flatnonzero(self.classes_ == output)
        if not len(where):
            raise ValueError(f"output is {output!r}; expected one of {self.classes_.tolist()}")
        k = int(where[0])
        if self.n_outputs_ > 1:
            return self._apply(outputs.input_gradients, X, k)
        gradient = self._apply(outputs.input_gradients, X, 0)
        return gradient if k else -gradient

    def _loss(self) -> Loss:
        return CLASSES if self._label_binarizer.y_type_ == "multiclass" else LABELS

    _learn_targets, _encode = labels.learn_classes, labels.encode_labels
    _weighted, _score_outputs = labels.weights_with_classes, labels.accuracy_of_labels

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
