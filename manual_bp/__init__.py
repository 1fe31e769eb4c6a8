"""Backpropagation for fully connected networks, written by hand as matrix equations and compiled by JAX."""

from importlib.metadata import version as _version

from manual_bp import checker as checker
from manual_bp._activations import Activation as Activation
from manual_bp._costs import Collapsed as Collapsed
from manual_bp._costs import Cost as Cost
from manual_bp._gradient import cost as cost
from manual_bp._gradient import forward as forward
from manual_bp._gradient import grad as grad
from manual_bp._gradient import predict as predict
from manual_bp._gradient import value_and_grad as value_and_grad
from manual_bp._init import init as init
from manual_bp._network import Layer as Layer
from manual_bp._network import Network as Network
from manual_bp._record import Record as Record
from manual_bp._record import backpropagate as backpropagate
from manual_bp._record import gradients as gradients
from manual_bp.checker import assert_gradients_match as assert_gradients_match
from manual_bp.checker import check_custom_vjp as check_custom_vjp
from manual_bp.checker import check_gradients as check_gradients

__version__ = _version("manual_bp")
