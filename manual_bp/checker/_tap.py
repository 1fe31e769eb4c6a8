"""How a cost is called with tap, the function by which it names its intermediates."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any


def call_with_tap(cost: Callable, values: Sequence, tap: Callable) -> Any:
    """cost(*values, tap), by keyword where the signature has the name; cost(*values) where it has no place for one."""
    cost = inspect.unwrap(cost) if hasattr(cost, "lower") else cost  # a jitted cost could not take a function
    try:
        parameters = inspect.signature(cost).parameters
    except (TypeError, ValueError):
        return cost(*values)
    if "tap" in parameters and parameters["tap"].kind is not inspect.Parameter.POSITIONAL_ONLY:
        return cost(*values, tap=tap)
    required = [p for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in required if p.default is p.empty]
    return cost(*values, tap) if len(required) == len(values) + 1 else cost(*values)
