"""The gradient checker: which line of a hand-written backward pass is wrong, and what the mistake is.

`check_gradients` returns a `Report` on a backward pass, with a `Line` for each of its lines; `assert_gradients_match`
is the same as a test, and raises `WrongGradient`. `check_custom_vjp` checks the rule of a `jax.custom_vjp`, and
`assert_custom_vjp` is the same as a test.
"""

from manual_bp.checker._assertions import assert_custom_vjp, assert_gradients_match
from manual_bp.checker._check import check_gradients
from manual_bp.checker._custom_vjp import check_custom_vjp
from manual_bp.checker._report import Report, WrongGradient
from manual_bp.checker._report_line import Line

__all__ = [
    "Line", "Report", "WrongGradient", "assert_custom_vjp", "assert_gradients_match", "check_custom_vjp",
    "check_gradients",
]  # fmt: skip
