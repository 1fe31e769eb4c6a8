"""Backpropagation for fully connected networks, written by hand as matrix equations and compiled by JAX.

The examples in the docstrings assume

    import jax, jax.numpy as jnp, numpy as np, optax
    import manual_bp as bp
"""

from manual_bp import checker, convert, privacy
from manual_bp._activations import Activation
from manual_bp._cost_rule import cost
from manual_bp._costs import Cost, MatchedLoss
from manual_bp._devices import place, use_cpu_devices
from manual_bp._forward import forward, predict
from manual_bp._gradient import grad, value_and_grad
from manual_bp._init import init
from manual_bp._network import Layer, Network, Params
from manual_bp._quantities.accumulate import accumulate
from manual_bp._quantities.clipping import clipped_gradients
from manual_bp._quantities.curvature import gauss_newton_diagonal, gauss_newton_product, hessian_product
from manual_bp._quantities.kfac import KroneckerFactors, kfac_factors, scale_by_kfac
from manual_bp._quantities.moments import noise_scale, second_moment, signal_to_noise, variance
from manual_bp._quantities.output_gradient import output_gradient
from manual_bp._quantities.per_example import (
    gram_matrix,
    per_example_gradients,
    per_example_layer_norms,
    per_example_norms,
)
from manual_bp._record import Record, backpropagate, gradients
from manual_bp._saving.model import Saved, SavedModelError, load, save
from manual_bp._training.checkpoint import CheckpointError
from manual_bp._training.dataset import Dataset
from manual_bp._training.early_stopping import EarlyStopping
from manual_bp._training.epoch import train_epoch
from manual_bp._training.evaluate import Evaluation, evaluate
from manual_bp._training.fit import Epoch, FitResult, fit
from manual_bp._training.history import History
from manual_bp._training.state import TrainState, train_state
from manual_bp._training.step import train_step
from manual_bp._version import __version__ as __version__
from manual_bp.checker import assert_custom_vjp, assert_gradients_match, check_custom_vjp, check_gradients
from manual_bp.privacy import private_value_and_grad

__all__ = [
    "Activation", "CheckpointError", "Cost", "Dataset", "EarlyStopping", "Epoch", "Evaluation", "FitResult", "History",
    "KroneckerFactors", "Layer", "MatchedLoss", "Network", "Params", "Record", "Saved", "SavedModelError", "TrainState",
    "accumulate", "assert_custom_vjp", "assert_gradients_match", "backpropagate", "check_custom_vjp", "check_gradients",
    "checker", "clipped_gradients", "convert", "cost", "evaluate", "fit", "forward", "gauss_newton_diagonal",
    "gauss_newton_product", "grad", "gradients", "gram_matrix", "hessian_product", "init", "kfac_factors", "load",
    "noise_scale", "output_gradient", "per_example_gradients", "per_example_layer_norms", "per_example_norms", "place",
    "predict", "privacy", "private_value_and_grad", "save", "scale_by_kfac", "second_moment", "signal_to_noise",
    "train_epoch", "train_state", "train_step", "use_cpu_devices", "value_and_grad", "variance",
]  # fmt: skip
