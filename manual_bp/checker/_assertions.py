"""The checks as assertions, for tests."""

from collections.abc import Callable
from typing import Any

from manual_bp.checker._check import check_gradients, refuse_non_functions
from manual_bp.checker._custom_vjp import check_custom_vjp
from manual_bp.checker._report import Report


@refuse_non_functions
def assert_gradients_match(cost: Callable, backward: Callable, params: Any, *args: Any, **options: Any) -> None:
    """Raise `AssertionError` with the report of `check_gradients`, unless every line is right.

    It is meant for tests. A line that cannot be judged, such as a gradient of zero, fails too, because such a test
    would show nothing. The options are those of `check_gradients`.

    Example:
        >>> cost = lambda params, X: jnp.sum(jnp.tanh(params["W"] @ X))
        >>> backward = lambda params, X: {"dW": (1 - np.tanh(params["W"] @ X) ** 2) @ X.T}
        >>> bp.assert_gradients_match(cost, backward, {"W": np.ones((2, 3))}, np.eye(3, 5))
    """
    __tracebackhide__ = True
    assert_right(check_gradients(cost, backward, params, *args, **options))


def assert_custom_vjp(f: Callable, *args: Any, **options: Any) -> None:
    """Raise `AssertionError` with the report of `check_custom_vjp`, unless every line of the rule is right.

    It is meant for tests. A line that cannot be judged, such as one at a kink, fails too. The options are those of
    `check_custom_vjp`.

    Example:
        >>> square = jax.custom_vjp(lambda x: x**2)
        >>> square.defvjp(lambda x: (x**2, x), lambda x, u: (2 * x * u,))
        >>> bp.assert_custom_vjp(square, np.arange(3.0))
    """
    __tracebackhide__ = True
    assert_right(check_custom_vjp(f, *args, **options))


def assert_right(report: Report) -> None:
    """Raise `WrongGradient` for a report that is "wrong", and `AssertionError` for one that cannot tell."""
    __tracebackhide__ = True
    report.raise_if_wrong()
    if report.verdict != "right":
        raise AssertionError(f"the gradients could not be verified\n{report}")
