"""The function tap(name, value), by which a cost names its intermediates."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

TAP_PREFIX = "manual_bp.tap:"


def recording_tap(called: list[str]) -> Callable[[str, Any], Any]:
    """Make a tap that marks each value for the trace and appends its name to `called`."""

    def tap(name: str, value: Any) -> Any:
        if not isinstance(name, str):
            raise TypeError(f'tap expects the name first, as in tap("Z1", Z1); got {type(name).__name__}')
        if name in called:
            raise ValueError(
                f'tap("{name}", ...) is called twice in one evaluation of the cost; give each intermediate its own name'
            )
        called.append(name)
        return checkpoint_name(jnp.asarray(value), TAP_PREFIX + name)

    return tap


def call_with_tap(cost: Callable, arguments: Sequence, tap: Callable) -> Any:
    """Call the cost with tap, by keyword if its signature has that name, or without it if there is no place for it."""
    cost = inspect.unwrap(cost) if hasattr(cost, "lower") else cost  # a jitted cost could not take a function
    try:
        parameters = inspect.signature(cost).parameters
    except (TypeError, ValueError):
        return cost(*arguments)
    if "tap" in parameters and parameters["tap"].kind is not inspect.Parameter.POSITIONAL_ONLY:
        return cost(*arguments, tap=tap)
    required = [p for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in required if p.default is p.empty]
    return cost(*arguments, tap) if len(required) == len(arguments) + 1 else cost(*arguments)
