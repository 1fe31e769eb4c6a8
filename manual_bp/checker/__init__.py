"""The gradient checker: which line of a hand-written backward pass is wrong, and what the mistake is.

`check_gradients` returns a `Report` on a backward pass, with a `Line` for each of its lines; `assert_gradients_match`
is the same as a test, and raises `WrongGradient`. `check_custom_vjp` checks the rule of a `jax.custom_vjp`.
"""

from manual_bp.checker._check import assert_gradients_match, check_gradients
from manual_bp.checker._custom_vjp import check_custom_vjp
from manual_bp.checker._report import Line, Report, WrongGradient

__all__ = ["Line", "Report", "WrongGradient", "assert_gradients_match", "check_custom_vjp", "check_gradients"]
