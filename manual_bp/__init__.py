"""Backpropagation for fully connected networks, written by hand as matrix equations and compiled by JAX."""

from importlib.metadata import version as _version

from manual_bp import checker as checker
from manual_bp import privacy as privacy
from manual_bp._activations import Activation as Activation
from manual_bp._costs import Collapsed as Collapsed
from manual_bp._costs import Cost as Cost
from manual_bp._curvature.gauss_newton_diagonal import gauss_newton_diagonal as gauss_newton_diagonal
from manual_bp._curvature.kfac import KroneckerFactors as KroneckerFactors
from manual_bp._curvature.kfac import kfac_factors as kfac_factors
from manual_bp._curvature.kfac import scale_by_kfac as scale_by_kfac
from manual_bp._curvature.products import gauss_newton_product as gauss_newton_product
from manual_bp._curvature.products import hessian_product as hessian_product
from manual_bp._gradient import cost as cost
from manual_bp._gradient import forward as forward
from manual_bp._gradient import grad as grad
from manual_bp._gradient import predict as predict
from manual_bp._gradient import value_and_grad as value_and_grad
from manual_bp._init import init as init
from manual_bp._network import Layer as Layer
from manual_bp._network import Network as Network
from manual_bp._network import Params as Params
from manual_bp._quantities.accumulate import accumulate as accumulate
from manual_bp._quantities.clipping import clipped_gradients as clipped_gradients
from manual_bp._quantities.moments import noise_scale as noise_scale
from manual_bp._quantities.moments import second_moment as second_moment
from manual_bp._quantities.moments import signal_to_noise as signal_to_noise
from manual_bp._quantities.moments import variance as variance
from manual_bp._quantities.output_gradient import output_gradient as output_gradient
from manual_bp._quantities.per_example import gram_matrix as gram_matrix
from manual_bp._quantities.per_example import per_example_gradients as per_example_gradients
from manual_bp._quantities.per_example import per_example_layer_norms as per_example_layer_norms
from manual_bp._quantities.per_example import per_example_norms as per_example_norms
from manual_bp._record import Record as Record
from manual_bp._record import backpropagate as backpropagate
from manual_bp._record import gradients as gradients
from manual_bp.checker import assert_gradients_match as assert_gradients_match
from manual_bp.checker import check_custom_vjp as check_custom_vjp
from manual_bp.checker import check_gradients as check_gradients
from manual_bp.privacy import private_value_and_grad as private_value_and_grad

__version__ = _version("manual_bp")
